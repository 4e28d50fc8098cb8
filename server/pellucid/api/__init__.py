"""The HTTP routes: dialects of other servers, and our own."""
