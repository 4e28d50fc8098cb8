"""The header: name and model menu."""

from __future__ import annotations

import gradio as gr

from pellucid.door.plain_page import MARK
from pellucid_webui.frame.controls import chat_model_menu

SIDE_TOGGLE = """
<button type="button" class="pl-icon-button" id="pl-side-toggle" aria-controls="pl-side" aria-label="Conversations"
  title="Show or hide the conversations">\
<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M3 5h18v14H3zM9 5v14"/></svg></button>"""

BRAND = f"""{SIDE_TOGGLE}
{MARK}
<h1>Pellucid</h1>
"""
"""Static, so that the first paint shows the header."""


def header_row() -> gr.Dropdown:
    """Add the header, and return the model menu."""
    with gr.Row(elem_id="pl-top", equal_height=True):
        gr.HTML(BRAND, elem_id="pl-brand", apply_default_css=False)
        model = chat_model_menu()
        gr.Column(elem_id="pl-header", min_width=0)
    return model
