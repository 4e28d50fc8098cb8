"""Commit messages that a model writes from the staged changes."""
