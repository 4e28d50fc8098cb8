"""The Read tab: a text, menus and a button, and areas for the ES modules."""

from __future__ import annotations

import gradio as gr

from pellucid_webui.frame.form_controls import connect_controls
from pellucid_webui.inspection.unified_diff import ReadAs

READ = "(...asked) => import('pellucid').then((page) => page.readText(asked))"

EXAMPLE = (
    "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n"
    "    return total / len(valeus)\n"
)
"""As in assets/read/read_tab.js."""

NO_SECOND = "none"
"""As in routes/read_session.py."""


def read_tab(page: gr.Blocks) -> None:
    with gr.Tab("Read", id="read"):
        with gr.Row(elem_id="pl-read"):
            with gr.Column(scale=1, min_width=280, elem_id="pl-read-side"):
                text = gr.Textbox(
                    EXAMPLE,
                    label="Text or diff",
                    info="any text or code, or the output of git diff",
                    lines=6,
                    max_lines=8,
                    elem_id="pl-read-text",
                )
                # Below the text, to be always visible.
                go = gr.Button("Read", variant="primary", elem_id="pl-read-go")
                gr.Column(elem_id="pl-read-file")
                model = gr.Dropdown([], label="Model", info="scores the text")
                second = gr.Dropdown(
                    [NO_SECOND], value=NO_SECOND, label="Second model", info="reads the text as well, to compare"
                )
                kind = gr.Radio(
                    [str(one) for one in ReadAs],
                    value=str(ReadAs.AUTOMATIC),
                    label="Read as",
                    info="Automatic: as a diff, if the text is one",
                )
            with gr.Column(scale=3, min_width=280):
                gr.Column(elem_id="pl-reading")
        controls = [text, model, second, kind]
        connect_controls(page, "read", controls)
    go.click(None, list(controls), None, js=READ, show_progress="hidden")
