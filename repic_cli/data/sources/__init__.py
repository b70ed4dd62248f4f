"""Readers of public data sets in their own formats: each gives a `Pool` of what records can be made of."""
