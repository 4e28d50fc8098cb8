"""Coloured tokens and progress bars."""
