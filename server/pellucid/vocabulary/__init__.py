"""The nouns of all packages."""
