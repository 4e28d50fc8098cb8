"""Figures about tokens, texts and comparisons; no Gradio."""
