"""The Read tab: texts scored by one or two models, or diffs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import gradio as gr

from pellucid.client.assistant_protocol import AssistantFor
from pellucid.errors import PellucidError
from pellucid_webui.conversations.attachments import content_of, text_of
from pellucid_webui.conversations.served_models import ServedModels
from pellucid_webui.page_threads import in_page_thread
from pellucid_webui.views.controls import model_menu
from pellucid_webui.views.page_owner import OwnerOf
from pellucid_webui.views.read_session import (
    AUTOMATIC,
    DIFF,
    TEXT,
    KeptReadings,
    Reading,
    ReadRequest,
    ReadState,
    act,
    read,
)
from pellucid_webui.views.script_panel import script_panel

CHANGED = "async (...asked) => { (await import('pellucid')).readInputs.change(...asked); }"
"""Lets the script mark results of another text."""

PRESSED = (
    "async (state, ...asked) => { (await import('pellucid')).readInputs.press(...asked); return [state, ...asked]; }"
)
"""Tells the script the inputs of a new reading."""

EXAMPLE = (
    "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n"
    "    return total / len(valeus)\n"
)

NO_SECOND = "none"

MAX_TEXT_BYTES = 1_000_000
"""5,000 long lines fit."""


def opened(state: ReadState, file: object) -> tuple[str | None, dict[str, Any]]:
    """Return a file's text (None if not text), and a payload."""
    try:
        name, content = content_of(file)
        return text_of(name, content, MAX_TEXT_BYTES), state.shown | {
            "status": f"{name} is open: press Read.",
            "wrong": False,
        }
    except PellucidError as error:
        return None, state.shown | {"status": str(error), "wrong": True}


def read_tab(page: gr.Blocks, assistant_for: AssistantFor, owner_of: OwnerOf) -> None:
    kept = KeptReadings()
    with gr.Tab("Read", id="read"):
        tab_state = gr.State(ReadState())
        with gr.Row(elem_id="pl-read"):
            with gr.Column(scale=1, min_width=280, elem_id="pl-read-side"):
                text, go, opener, model, second, kind = _inputs()
            with gr.Column(scale=3, min_width=280):
                view = script_panel("mountReading", "pl-reading")
                parts = script_panel("mountReadingParts", "pl-reading-parts")

    async def on_read(request: gr.Request, state: ReadState, *asked: str) -> AsyncGenerator[Any]:
        before = state.last
        async with aclosing(read(assistant_for(owner_of(request)), state, request_of(*asked))) as payloads:
            async for shown in payloads:
                if state.last is not None and state.last is not before:
                    kept.keep(owner_of(request), state.last)
                yield shown

    async def on_load(request: gr.Request, state: ReadState) -> Sequence[Any]:
        served = await ServedModels.ask(assistant_for(owner_of(request)))
        return model_menus(served, state.last)

    async def on_act(event: gr.EventData, request: gr.Request, state: ReadState) -> Sequence[Any]:
        asked = _asked(event)
        if asked.get("verb") == "restore":
            served = await ServedModels.ask(assistant_for(owner_of(request)))
            return _restored(state, kept.find(owner_of(request), asked.get("key")), asked.get("text"), served)
        shown = await act(state, asked)
        return [gr.skip() if shown is None else shown, gr.skip(), gr.skip(), gr.skip(), gr.skip()]

    async def on_part(event: gr.EventData, state: ReadState) -> Any:
        found = await in_page_thread(state.part, _asked(event))
        return gr.skip() if found is None else found

    async def on_file(event: gr.EventData, state: ReadState) -> tuple[Any, dict[str, Any]]:
        found, shown = await in_page_thread(opened, state, event._data)
        return gr.skip() if found is None else found, shown

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    inputs: list[Any] = [text, model, second, kind]
    page.load(on_load, [tab_state], [model, second], **quiet)
    go.click(on_read, [tab_state, *inputs], [view], js=PRESSED, **quiet)
    gr.on([one.change for one in inputs], None, inputs, None, js=CHANGED, show_progress="hidden")
    view.act(on_act, [tab_state], [view, *inputs], trigger_mode="multiple", **quiet)
    parts.act(on_part, [tab_state], [parts], trigger_mode="multiple", **quiet)
    opener.act(on_file, [tab_state], [text, view], trigger_mode="multiple", **quiet)


def request_of(text: str, model: str | None, second: str | None, kind: str | None) -> ReadRequest:
    return ReadRequest(text, model or "", "" if second in (None, NO_SECOND) else str(second), kind or AUTOMATIC)


def model_menus(served: ServedModels, reading: Reading | None) -> Sequence[Any]:
    first, second = ("", NO_SECOND) if reading is None else (reading.first.model, reading.request.second or NO_SECOND)
    # A missing model stays chosen: reading reports the error.
    names = list(dict.fromkeys([NO_SECOND, *served.names, second]))
    return [model_menu(served, "scores the text", first), gr.Dropdown(choices=names, value=second)]


def _restored(state: ReadState, reading: Reading | None, typed: object, served: ServedModels) -> Sequence[Any]:
    """Restore a reloaded tab, but keep text typed since."""
    text = typed if isinstance(typed, str) and typed else None
    if reading is None or state.last is not None or state.running is not None:
        return [gr.skip(), gr.skip() if text is None else text, gr.skip(), gr.skip(), gr.skip()]
    state.last = reading
    return [
        reading.shown,
        reading.request.text if text is None else text,
        *model_menus(served, reading),
        reading.request.kind,
    ]


def _asked(event: gr.EventData) -> Mapping[str, Any]:
    return event._data if isinstance(event._data, Mapping) else {}


def _inputs() -> tuple[gr.Textbox, gr.Button, gr.HTML, gr.Dropdown, gr.Dropdown, gr.Radio]:
    """Add the inputs; the button is below the text to be always visible."""
    text = gr.Textbox(
        EXAMPLE,
        label="Text or diff",
        info="any text or code, or the output of git diff",
        lines=6,
        max_lines=8,
        elem_id="pl-read-text",
    )
    go = gr.Button("Read", variant="primary", elem_id="pl-read-go")
    opener = script_panel("mountOpener", "pl-read-file", {"limit": MAX_TEXT_BYTES})
    model = gr.Dropdown([], label="Model", info="scores the text")
    second = gr.Dropdown([NO_SECOND], value=NO_SECOND, label="Second model", info="reads the text as well, to compare")
    kind = gr.Radio(
        [AUTOMATIC, TEXT, DIFF], value=AUTOMATIC, label="Read as", info="Automatic: as a diff, if the text is one"
    )
    return text, go, opener, model, second, kind
