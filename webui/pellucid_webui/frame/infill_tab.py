"""The Infill tab: menus, and areas for the ES modules."""

from __future__ import annotations

import gradio as gr

from pellucid.completion.settings import GateLevel
from pellucid_webui.frame.form_controls import connect_controls

LANGUAGES = ("python", "javascript", "typescript", "go", "rust", "c", "java", "html", "markdown", "plaintext")


def infill_tab(page: gr.Blocks) -> None:
    with gr.Tab("Infill", id="infill"):
        with gr.Row():
            model = gr.Dropdown([], label="Model", info="generates the suggestion", min_width=280)
            language = gr.Dropdown(
                list(LANGUAGES), value="python", label="Language", info="determines where a code block ends"
            )
            level = gr.Dropdown(
                [str(one) for one in GateLevel],
                value=str(GateLevel.NORMAL),
                label="Confidence threshold",
                info="how much is risked: quiet shows the fewest",
            )
        connect_controls(page, "infill", [model, language, level])
        gr.Column(elem_id="pl-infill")
        with gr.Accordion("Reliability of the suggestions", open=False):
            gr.Column(elem_id="pl-trust")
