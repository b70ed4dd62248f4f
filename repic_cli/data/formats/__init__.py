"""Training files of other tools, read into our records and written from them."""
