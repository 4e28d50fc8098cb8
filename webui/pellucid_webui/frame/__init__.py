"""The frame: Gradio's tabs and controls."""
