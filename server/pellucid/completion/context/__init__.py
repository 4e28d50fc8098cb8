"""The prompt around a cursor, and files to keep private."""
