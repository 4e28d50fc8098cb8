"""The suggestions for a cursor: answers, context, privacy, shaping, gate, edits."""
