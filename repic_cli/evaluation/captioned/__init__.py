"""Scores of saved captions: by the paper's rule, by a strict one, and what tells them apart."""
