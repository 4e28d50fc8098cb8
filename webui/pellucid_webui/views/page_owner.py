"""The user of a request of the page."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

OwnerOf = Callable[[gr.Request], str]
"""Returns the user of a request, who owns conversations and is charged for model use."""
