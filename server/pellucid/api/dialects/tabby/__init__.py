"""Tabby's routes, for its editor plugins."""
