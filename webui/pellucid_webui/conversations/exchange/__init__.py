"""Conversations as files: exported, and imported from Pellucid and other programs."""
