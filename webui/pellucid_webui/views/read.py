"""Serves the Read tab: a text scored by a model, token by token."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import gradio as gr

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.tokens import Finish, FinishReason, ScoreQuery, Token
from pellucid_webui.conversations.attachments import MAX_FILE_BYTES, content_of, text_of
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.turn_settings import ALTERNATIVES
from pellucid_webui.inspection.histograms import entropy_histogram, rank_histogram
from pellucid_webui.inspection.reading_figures import ReadingFigures, SurprisingLine
from pellucid_webui.views.controls import model_choices

logger = logging.getLogger(__name__)

SCRIPT = """
Pellucid.mountReading({ element, props, watch, act: (data) => trigger('act', data) });
"""

OPENER_SCRIPT = """
Pellucid.mountOpener({ element, props, act: (data) => trigger('act', data) });
"""

TICK_SECONDS = 0.2
"""Interval between updates of a reading."""

LINES_SHOWN = 20

EXAMPLE = "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return total / len(valeus)\n"

CUT_SHORT: Mapping[FinishReason, str] = {
    FinishReason.CANCELLED: "The server cancelled the reading: press Read to try again.",
    FinishReason.DEADLINE: "The reading reached its time limit.",
    FinishReason.SUPERSEDED: "The reading was superseded by a newer request.",
    FinishReason.ERROR: "The reading failed.",
}
"""Sentences for readings that did not reach the end of their text."""

UNEXPECTED = "Internal server error; see the server log."

_NUMBERS = count(1)

NOTHING: Mapping[str, Any] = {
    "number": 0,
    "batches": [],
    "status": "",
    "wrong": False,
    "progress": None,
    "figures": [],
    "lines": [],
}
"""The payload before the first reading."""


@dataclass(eq=False)
class ReadState:
    """The last reading of one tab with its payload, and the task of the running one."""

    reading: ReadingFigures | None = None
    shown: dict[str, Any] = field(default_factory=lambda: dict(NOTHING))
    scoring: asyncio.Task[None] | None = None

    def __deepcopy__(self, _: object) -> ReadState:
        """Return a new state: Gradio copies the initial one for each tab."""
        return ReadState()

    def stop(self) -> None:
        """Stop the running reading."""
        if self.scoring is not None:
            self.scoring.cancel()


@dataclass(eq=False)
class _PartialReading:
    """The tokens of a running reading so far, and its model."""

    tokens: list[Token] = field(default_factory=list)
    model: str = ""


async def read(assistant: Assistant, state: ReadState, text: str, model: str) -> AsyncGenerator[dict[str, Any]]:
    """Score a text and yield payloads as it is read. If no token is read, keep the last reading."""
    number, partial, batches, packed = next(_NUMBERS), _PartialReading(), list[str](), 0
    scoring = state.scoring = asyncio.create_task(_score(assistant, text, model, partial))
    try:
        yield _shown(number, batches, "Reading…", progress=_progress(text, partial.tokens))
        while not scoring.done():
            await asyncio.wait([scoring], timeout=TICK_SECONDS)
            if len(partial.tokens) > packed:
                batches.append(pack(partial.tokens[packed:]))
                packed = len(partial.tokens)
                yield _shown(number, batches, "Reading…", progress=_progress(text, partial.tokens))
    finally:
        scoring.cancel()
        await asyncio.wait([scoring])
    if partial.tokens:
        state.reading = ReadingFigures(partial.model, tuple(partial.tokens))
        state.shown = await asyncio.to_thread(_finished, number, batches, state.reading)
    yield state.shown | _outcome(scoring, len(partial.tokens))


async def _score(assistant: Assistant, text: str, model: str, partial: _PartialReading) -> None:
    """Score a text to its end. Raises a PellucidError if that fails."""
    if not text:
        raise InvalidRequestError("There is no text to read: paste one, or open a file.")
    partial.model = model or (await assistant.cards())[0].name
    async with aclosing(assistant.score(ScoreQuery(text, model=partial.model, top_logprobs=ALTERNATIVES))) as items:
        async for item in items:
            if not isinstance(item, Finish):
                partial.tokens.append(item)
            elif item.reason in CUT_SHORT:
                raise PellucidError(item.error or CUT_SHORT[item.reason])


def _outcome(scoring: asyncio.Task[None], tokens: int) -> dict[str, Any]:
    """Return the status at the end of a reading, which is empty after success."""
    if scoring.cancelled():
        return {"status": f"Stopped after {tokens} tokens." if tokens else "Stopped before a token was read."}
    error = scoring.exception()
    if error is None:
        return {"status": ""}
    if not isinstance(error, PellucidError):
        logger.error("A reading failed.", exc_info=error)
    return {"status": str(error) if isinstance(error, PellucidError) else UNEXPECTED, "wrong": True}


def export(state: ReadState, form: str) -> dict[str, Any]:
    """Return the last reading as a file for the browser to save. Raises InvalidRequestError if there is none."""
    if state.reading is None:
        raise InvalidRequestError("There is no reading to export yet: read a text first.")
    if form == "csv":
        return {"n": next(_NUMBERS), "name": "reading.csv", "type": "text/csv", "text": state.reading.csv()}
    if form == "json":
        return {"n": next(_NUMBERS), "name": "reading.json", "type": "application/json", "text": state.reading.json()}
    raise InvalidRequestError(f"Readings are exported as csv or json, not as {form!r}.")


def figures(reading: ReadingFigures) -> list[tuple[str, str, str]]:
    """Return the figures of a reading, each as name, value and explanation."""
    found = [("tokens", str(len(reading.tokens)), "depends on the model's tokenizer")]
    if reading.perplexity is not None:
        found.append(("perplexity", f"{reading.perplexity:.3f}", "per token: the effective number of choices; depends on the tokenizer"))
    if reading.bits_per_byte is not None:
        found.append(("bits per byte", f"{reading.bits_per_byte:.4f}", "comparable between models"))
    return [*found, ("total bits", f"{reading.bits:.1f}", "surprisal of the whole text")]


def lines_of(reading: ReadingFigures) -> list[dict[str, Any]]:
    """Return the most surprising lines, each with the index of its first token."""
    lines = sorted(reading.lines(), key=lambda line: line.mean, reverse=True)[:LINES_SHOWN]
    first = reading.first_tokens()
    return [_line(line, first[line.number]) for line in lines]


async def act(state: ReadState, event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Run an action of the script, and return the payload to show, or None to change nothing."""
    if event.get("verb") == "stop":
        state.stop()
        return None
    try:
        return state.shown | {"file": await asyncio.to_thread(export, state, str(event.get("form", "")))}
    except PellucidError as error:
        return state.shown | {"status": str(error), "wrong": True}


def opened(state: ReadState, file: object) -> tuple[str | None, dict[str, Any]]:
    """Return the text of a file that the script has read, and a payload. The text is None if the file is not text."""
    try:
        name, content = content_of(file)
        return text_of(name, content), state.shown | {"status": f"{name} is open: press Read.", "wrong": False}
    except PellucidError as error:
        return None, state.shown | {"status": str(error), "wrong": True}


def read_tab(page: gr.Blocks, assistant: Assistant) -> None:
    """Add the tab to a page."""
    with gr.Tab("Read", id="read"):
        tab_state = gr.State(ReadState())
        with gr.Row():
            with gr.Column(scale=2, min_width=280, elem_id="pl-read-side"):
                text = gr.Textbox(
                    EXAMPLE,
                    label="Text",
                    info="any text or code, including its white space",
                    lines=12,
                    max_lines=24,
                    elem_id="pl-read-text",
                )
                opener = _opener()
                model = gr.Dropdown([], label="Model", info="scores the text")
                go = gr.Button("Read", variant="primary", elem_id="pl-read-go")
            with gr.Column(scale=3, min_width=280):
                view = gr.HTML(value=None, html_template="", js_on_load=SCRIPT, elem_id="pl-reading", apply_default_css=False)
                with gr.Row(elem_id="pl-histograms"):
                    ranks, entropies = gr.Plot(label="Ranks"), gr.Plot(label="Entropies")

    async def on_read(state: ReadState, text: str, model: str) -> AsyncGenerator[Sequence[Any]]:
        before = state.reading
        async with aclosing(read(assistant, state, text, model)) as payloads:
            async for shown in payloads:
                yield [shown, gr.skip(), gr.skip()]
        if state.reading is not None and state.reading is not before:
            yield [gr.skip(), rank_histogram(state.reading), entropy_histogram(state.reading)]

    async def on_load() -> Any:
        return await model_choices(assistant, "scores the text")

    async def on_act(event: gr.EventData, state: ReadState) -> Any:
        shown = await act(state, event._data or {})
        return gr.skip() if shown is None else shown

    async def on_file(event: gr.EventData, state: ReadState) -> tuple[Any, dict[str, Any]]:
        found, shown = await asyncio.to_thread(opened, state, event._data)
        return gr.skip() if found is None else found, shown

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    page.load(on_load, None, [model], **quiet)
    go.click(on_read, [tab_state, text, model], [view, ranks, entropies], **quiet)
    view.act(on_act, [tab_state], [view], trigger_mode="multiple", **quiet)
    opener.act(on_file, [tab_state], [text, view], trigger_mode="multiple", **quiet)


def _opener() -> gr.HTML:
    """Add the button that opens a file: its script reads the content and triggers ``act``."""
    return gr.HTML(
        value={"limit": MAX_FILE_BYTES}, html_template="", js_on_load=OPENER_SCRIPT, elem_id="pl-read-file", apply_default_css=False
    )


def _progress(text: str, tokens: Sequence[Token]) -> dict[str, Any]:
    """Return the share of a text that is read, and a description that estimates its number of tokens from the bytes so far."""
    size, done = len(text.encode()), sum(len(token.bytes) for token in tokens)
    if not size or not done:
        return {"share": 0.0, "words": ""}
    share = min(done / size, 1.0)
    return {"share": round(share, 4), "words": f"{len(tokens)} of about {max(round(len(tokens) / share), len(tokens))} tokens"}


def _shown(
    number: int,
    batches: Sequence[str],
    status: str,
    numbers: Sequence[tuple[str, str, str]] = (),
    lines: Sequence[dict[str, Any]] = (),
    *,
    progress: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return dict(NOTHING) | {
        "number": number,
        "batches": list(batches),
        "status": status,
        "figures": list(numbers),
        "lines": list(lines),
        "progress": progress,
    }


def _finished(number: int, batches: Sequence[str], reading: ReadingFigures) -> dict[str, Any]:
    return _shown(number, batches, "", figures(reading), lines_of(reading))


def _line(line: SurprisingLine, token: int) -> dict[str, Any]:
    return {"number": line.number, "text": line.text, "mean": line.mean, "most": line.most, "token": token}
