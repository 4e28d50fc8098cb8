"""Next edits and edits by instruction."""
