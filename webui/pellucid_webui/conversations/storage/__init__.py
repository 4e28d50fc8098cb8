"""Conversations, folders and reviews in SQLite."""
