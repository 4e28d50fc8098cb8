"""The Markdown of messages as HTML."""
