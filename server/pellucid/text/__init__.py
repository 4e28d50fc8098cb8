"""Text to token ids and back, in three verbs: complete, chat, score."""
