"""Captions with the names of a person's own concepts."""
