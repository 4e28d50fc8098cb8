"""Names the user of a request of the page."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

OwnerOf = Callable[[gr.Request], str]
"""Returns the user of a request, whose conversations it may see and whose use of models it counts
for.
"""
