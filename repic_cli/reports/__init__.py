"""Training curves as pictures, and reports as single HTML files."""
