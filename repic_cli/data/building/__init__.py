"""Records from what sources offer: shares, names, pictures, manifest."""
