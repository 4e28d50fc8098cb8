"""The header: name, model menu, and data about models and user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pellucid.door.plain_page import MARK
from pellucid_webui.conversations.served_models import ServedModels
from pellucid_webui.views.controls import chat_model_menu
from pellucid_webui.views.script_panel import script_panel

BRAND = f"""
<button type="button" class="pl-icon-button" id="pl-side-toggle" aria-controls="pl-side" aria-label="Conversations"
  title="Show or hide the conversations">\
<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M3 5h18v14H3zM9 5v14"/></svg></button>
{MARK}
<h1>Pellucid</h1>
"""
"""Static, so that the first paint shows the header."""


@dataclass(frozen=True, slots=True)
class Header:
    """``model`` is the model menu, ``panel`` the script's area."""

    model: gr.Dropdown
    panel: gr.HTML


def header_row() -> Header:
    with gr.Row(elem_id="pl-top", equal_height=True):
        gr.HTML(BRAND, elem_id="pl-brand", apply_default_css=False)
        model = chat_model_menu()
        panel = script_panel("mountHeader", "pl-header", shared_as="header")
    return Header(model, panel)


def header_payload(served: ServedModels, owner: str, model: str) -> Mapping[str, Any]:
    return {
        "owner": owner,
        "model": model or served.default,
        "problem": served.problem,
        "models": [
            {
                "name": card.name,
                "context": card.context,
                "bytes": card.weight_bytes,
                "description": card.description,
                "base": card.base if card.adapter else None,
            }
            for card in served.cards
        ],
    }
