"""Gradio's form controls, read and set by the ES modules in the browser."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr
from gradio.components import Component

HEAR = '(...values) => import("pellucid").then((page) => page.formControls("{name}").hear(values))'
"""Tells the modules the values of all controls of a group."""

GIVE = '() => import("pellucid").then((page) => page.formControls("{name}").given)'
"""Takes the values that the modules have for the controls."""


def connect_controls(page: gr.Blocks, name: str, controls: Sequence[Component]) -> None:
    """Connect a group of controls with ``formControls(name)``, without the server."""
    hear, give = HEAR.format(name=name), GIVE.format(name=name)
    giver = gr.Button(elem_id=f"pl-give-{name}", visible="hidden")
    giver.click(None, None, list(controls), js=give, show_progress="hidden")
    changes = [control.change for control in controls]  # type: ignore[attr-defined]  # All of these components have this event.
    gr.on([page.load, *changes], None, list(controls), None, js=hear, show_progress="hidden")
