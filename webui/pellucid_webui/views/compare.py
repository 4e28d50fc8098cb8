"""Compare: the same prompt to two models or settings."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from pellucid.client.protocol import Assistant
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid_webui.conversations.conversation import TurnSettings
from pellucid_webui.views.controls import turn_controls
from pellucid_webui.views.side_by_side import Side, SideBySide

SCRIPT = """
Pellucid.mountCompare({ element, props, watch, act: (data) => trigger('act', data) });
"""

EXAMPLE = "Write a Python function that tells whether a year is a leap year."

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
"""What is shown before anything was compared."""


@dataclass(eq=False)
class CompareState:
    """What one tab has compared last."""

    duel: SideBySide | None = None
    shown: dict[str, Any] = field(default_factory=lambda: dict(NOTHING))

    def __deepcopy__(self, _: object) -> CompareState:
        """Each tab has its own."""
        return CompareState()

    def stop(self) -> None:
        """End what is going on with what there is."""
        if self.duel is not None:
            self.duel.stop()


async def compare(
    assistant: Assistant, kept: CompareState, prompt: str, sides: tuple[TurnSettings, TurnSettings]
) -> AsyncGenerator[dict[str, Any]]:
    """Have both sides answer and read; what to show, as it comes. Where nothing can be compared, what there was stays."""
    try:
        if not prompt.strip():
            raise InvalidRequestError("There is no prompt: write what both sides should answer.")
        default = (await assistant.cards())[0].name
    except PellucidError as error:
        yield wrong(kept, error)
        return
    a, b = (replace(side, model=side.model or default) for side in sides)
    kept.duel = SideBySide(Side("A", a), Side("B", b))
    async with aclosing(kept.duel.run(assistant, prompt)) as payloads:
        async for shown in payloads:
            kept.shown = shown
            yield shown


def wrong(kept: CompareState, error: PellucidError) -> dict[str, Any]:
    """What there is, and what went wrong."""
    return kept.shown | {"status": str(error), "wrong": True}


def compare_tab(page: gr.Blocks, assistant: Assistant) -> None:
    """The tab."""
    with gr.Tab("Compare", id="compare"):
        kept = gr.State(CompareState())
        with gr.Row():
            with gr.Column(min_width=280):
                first = turn_controls("Side A", GREEDY, opened=True)
            with gr.Column(min_width=280):
                second = turn_controls("Side B", WARM, opened=True)
        prompt = gr.Textbox(EXAMPLE, label="Prompt", info="both sides get the same", lines=2, elem_id="pl-compare-prompt")
        go = gr.Button("Compare", variant="primary", elem_id="pl-compare-go")
        view = gr.HTML(value=None, html_template="", js_on_load=SCRIPT, elem_id="pl-compare", apply_default_css=False)

    size = len(first.parts)

    async def on_go(looking: CompareState, asked: str, *given: Any) -> AsyncGenerator[dict[str, Any]]:
        try:
            sides = first.settings(given[:size]), second.settings(given[size:])
        except PellucidError as error:
            yield wrong(looking, error)
            return
        async with aclosing(compare(assistant, looking, asked, sides)) as payloads:
            async for shown in payloads:
                yield shown

    async def on_act(looking: CompareState) -> None:
        looking.stop()

    async def on_load() -> Sequence[Any]:
        return [*await first.showing(assistant, None), *await second.showing(assistant, None, which=1)]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    page.load(on_load, None, [*first.parts, *second.parts], **quiet)
    go.click(on_go, [kept, prompt, *first.parts, *second.parts], [view], **quiet)
    view.act(on_act, [kept], None, **quiet)
