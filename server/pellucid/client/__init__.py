"""The verbs of an assistant over HTTP."""
