"""The chat tab and its list of conversations."""
