"""Conversations: tree, store, search, exchange; no Gradio."""
