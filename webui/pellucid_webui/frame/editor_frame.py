"""The chat alone, without Gradio, for a view in an editor: a frame that the editor draws."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict
from functools import cache
from html import escape
from typing import Any

from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.frame.app import css, early_style, module
from pellucid_webui.frame.header import SIDE_TOGGLE

MAIN_MODULE = "editor.js"


async def answer(_owner: str, _asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
    """Yield the frame: HTML of the body, styles, and an ES module."""
    yield frame()


@cache
def frame() -> dict[str, str]:
    return {"body": _body(), "style": f"{early_style()}\n{css('frame/editor_frame')}", "module": module(MAIN_MODULE)}


def _body() -> str:
    """Return areas for the ES modules, with the names of Gradio's areas on the page."""
    defaults = asdict(TurnSettings()) | {"seed": ""}
    return f"""<div id="pl-editor">
<header id="pl-top">{SIDE_TOGGLE}<select id="pl-model" class="pl-button" aria-label="Model"></select>\
<div id="pl-header"></div></header>
<div id="pl-desk">
<div id="pl-side"><div id="pl-conversation-panel"></div></div>
<main id="pl-main"><div id="pl-chat"></div></main>
<section id="pl-settings" aria-label="Settings" data-defaults="{escape(json.dumps(defaults))}"></section>
</div>
</div>"""
