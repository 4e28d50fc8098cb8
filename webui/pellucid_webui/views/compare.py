"""Serves the Compare tab: one prompt, answered by two models or with two settings."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.views.controls import turn_controls
from pellucid_webui.views.side_by_side import Side, SideBySide

SCRIPT = """
Pellucid.mountCompare({ element, props, watch, act: (data) => trigger('act', data) });
"""

EXAMPLE = "Write a Python function that checks if a year is a leap year."

GREEDY = TurnSettings(temperature=0.0, max_tokens=128)
WARM = TurnSettings(temperature=1.0, max_tokens=128)

_NO_ANSWER: Mapping[str, Any] = {"about": "", "batches": [], "note": "", "wrong": False, "marks": None, "words": [], "apart": []}

NOTHING: Mapping[str, Any] = {
    "number": 0,
    "status": "",
    "wrong": False,
    "running": False,
    "a": _NO_ANSWER,
    "b": _NO_ANSWER,
    "summary": [],
    "divergences": [],
}
"""The payload before the first comparison."""


@dataclass(eq=False)
class CompareState:
    """The last comparison of one tab, and its payload."""

    comparison: SideBySide | None = None
    shown: dict[str, Any] = field(default_factory=lambda: dict(NOTHING))

    def __deepcopy__(self, _: object) -> CompareState:
        """Return a new state: Gradio copies the initial one for each tab."""
        return CompareState()

    def stop(self) -> None:
        """Stop the running comparison and keep the text so far."""
        if self.comparison is not None:
            self.comparison.stop()


async def compare(
    assistant: Assistant, state: CompareState, prompt: str, sides: tuple[TurnSettings, TurnSettings]
) -> AsyncGenerator[dict[str, Any]]:
    """Have both sides answer and score each other; yield payloads. If that is impossible, keep the last comparison."""
    try:
        if not prompt.strip():
            raise InvalidRequestError("The prompt is empty: write what both sides should answer.")
        default = (await assistant.cards())[0].name
    except PellucidError as error:
        yield failure(state, error)
        return
    a, b = (replace(side, model=side.model or default) for side in sides)
    state.comparison = SideBySide(Side("A", a), Side("B", b))
    async with aclosing(state.comparison.run(assistant, prompt)) as payloads:
        async for shown in payloads:
            state.shown = shown
            yield shown


def failure(state: CompareState, error: PellucidError) -> dict[str, Any]:
    """Return the last payload with an error."""
    return state.shown | {"status": str(error), "wrong": True}


def compare_tab(page: gr.Blocks, assistant: Assistant) -> None:
    """Add the tab to a page."""
    with gr.Tab("Compare", id="compare"):
        tab_state = gr.State(CompareState())
        with gr.Row():
            with gr.Column(min_width=280):
                first = turn_controls("Side A", GREEDY, opened=True)
            with gr.Column(min_width=280):
                second = turn_controls("Side B", WARM, opened=True)
        prompt = gr.Textbox(EXAMPLE, label="Prompt", info="sent to both sides", lines=2, elem_id="pl-compare-prompt")
        go = gr.Button("Compare", variant="primary", elem_id="pl-compare-go")
        view = gr.HTML(value=None, html_template="", js_on_load=SCRIPT, elem_id="pl-compare", apply_default_css=False)

    size = len(first.parts)

    async def on_go(state: CompareState, text: str, *values: Any) -> AsyncGenerator[dict[str, Any]]:
        try:
            sides = first.settings(values[:size]), second.settings(values[size:])
        except PellucidError as error:
            yield failure(state, error)
            return
        async with aclosing(compare(assistant, state, text, sides)) as payloads:
            async for shown in payloads:
                yield shown

    async def on_act(state: CompareState) -> None:
        state.stop()

    async def on_load() -> Sequence[Any]:
        return [*await first.showing(assistant, None), *await second.showing(assistant, None, which=1)]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    page.load(on_load, None, [*first.parts, *second.parts], **quiet)
    go.click(on_go, [tab_state, prompt, *first.parts, *second.parts], [view], **quiet)
    view.act(on_act, [tab_state], None, **quiet)
