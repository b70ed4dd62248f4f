"""Records, importers and safe access to pictures and names."""
