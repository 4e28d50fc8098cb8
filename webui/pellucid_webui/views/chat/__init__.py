"""The chat tab and the list of conversations."""
