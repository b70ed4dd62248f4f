"""The database of a person's own concepts: store, picture encoders, object proposals, search."""
