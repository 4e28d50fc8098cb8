"""Answers to the page's requests: JSON in, events out."""
