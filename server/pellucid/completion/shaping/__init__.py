"""The end of a suggestion."""
