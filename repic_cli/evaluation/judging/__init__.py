"""Preference of a judge model between the captions of two systems, through any OpenAI-compatible endpoint."""
