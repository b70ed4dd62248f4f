"""The plugins that ship with repic. They register through the same entry-point group as anybody's."""
