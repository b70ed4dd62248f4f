"""Measures of what a model can do, with the uncertainty of each."""
