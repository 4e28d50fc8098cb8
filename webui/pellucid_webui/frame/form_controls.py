"""Gradio's form controls, read and set by the ES modules in the browser."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr
from gradio.components import Component

HEAR = '(...values) => import("pellucid").then((page) => page.formControls("{name}").hear(values, {by_user}))'
"""Tells the modules the values of a group, and whether the user has changed a value."""

GIVE = '() => import("pellucid").then((page) => page.formControls("{name}").take())'
"""Takes the values that the modules have for the controls."""


def connect_controls(page: gr.Blocks, name: str, controls: Sequence[Component]) -> None:
    """Connect a group of controls with ``formControls(name)``, without the server."""
    hear, edit = (HEAR.format(name=name, by_user=by_user) for by_user in ("false", "true"))
    giver = gr.Button(elem_id=f"pl-give-{name}", visible="hidden")
    giver.click(None, None, list(controls), js=GIVE.format(name=name), show_progress="hidden")
    # All of these components have both events.
    changes = [control.change for control in controls]  # type: ignore[attr-defined]
    edits = [control.input for control in controls]  # type: ignore[attr-defined]
    gr.on([page.load, *changes], None, list(controls), None, js=hear, show_progress="hidden")
    gr.on(edits, None, list(controls), None, js=edit, show_progress="hidden")
