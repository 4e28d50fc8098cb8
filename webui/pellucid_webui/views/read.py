"""Read: any text as a model reads it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import gradio as gr

from pellucid.client.protocol import Assistant
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.tokens import Finish, FinishReason, Token
from pellucid_webui.conversations.attachments import MAX_FILE_BYTES, content_of, text_of
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import ALTERNATIVES
from pellucid_webui.inspection.histograms import entropy_histogram, rank_histogram
from pellucid_webui.inspection.reading import ReadingFigures, SurprisingLine
from pellucid_webui.views.controls import model_choices

logger = logging.getLogger(__name__)

SCRIPT = """
Pellucid.mountReading({ element, props, watch, act: (data) => trigger('act', data) });
"""

OPENER_SCRIPT = """
Pellucid.mountOpener({ element, props, act: (data) => trigger('act', data) });
"""

TICK_SECONDS = 0.2
"""How often what is read is shown."""

LINES_SHOWN = 20

EXAMPLE = "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return total / len(valeus)\n"

CUT_SHORT: Mapping[FinishReason, str] = {
    FinishReason.CANCELLED: "The server took the reading back before its end.",
    FinishReason.DEADLINE: "The time for this reading was up before its end.",
    FinishReason.SUPERSEDED: "A newer request took the place of this reading.",
    FinishReason.ERROR: "The server failed at this reading.",
}
"""What is said of a reading that did not come to the end of its text."""

UNEXPECTED = "The server failed at this reading; its log says how."

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
"""What is shown before anything was read."""


@dataclass(eq=False)
class ReadState:
    """What one tab has read last, and what it reads now."""

    reading: ReadingFigures | None = None
    shown: dict[str, Any] = field(default_factory=lambda: dict(NOTHING))
    listening: asyncio.Task[None] | None = None

    def __deepcopy__(self, _: object) -> ReadState:
        """Each tab has its own."""
        return ReadState()

    def stop(self) -> None:
        """Read no further."""
        if self.listening is not None:
            self.listening.cancel()


@dataclass(eq=False)
class _PartialReading:
    """What has come of a text so far, and which model reads it."""

    tokens: list[Token] = field(default_factory=list)
    model: str = ""


async def read(assistant: Assistant, kept: ReadState, text: str, model: str) -> AsyncGenerator[dict[str, Any]]:
    """Read a text, and show it as it is read. Where nothing comes of it, what was read before stays."""
    number, heard, batches, packed = next(_NUMBERS), _PartialReading(), list[str](), 0
    listening = kept.listening = asyncio.create_task(_listen(assistant, text, model, heard))
    try:
        yield _shown(number, batches, "Reading…", progress=_progress(text, heard.tokens))
        while not listening.done():
            await asyncio.wait([listening], timeout=TICK_SECONDS)
            if len(heard.tokens) > packed:
                batches.append(pack(heard.tokens[packed:]))
                packed = len(heard.tokens)
                yield _shown(number, batches, "Reading…", progress=_progress(text, heard.tokens))
    finally:
        listening.cancel()
        await asyncio.wait([listening])
    if heard.tokens:
        kept.reading = ReadingFigures(heard.model, tuple(heard.tokens))
        kept.shown = await asyncio.to_thread(_finished, number, batches, kept.reading)
    yield kept.shown | _end(listening, len(heard.tokens))


async def _listen(assistant: Assistant, text: str, model: str, heard: _PartialReading) -> None:
    """Hear a text to its end. Raises a PellucidError where that does not come."""
    if not text:
        raise InvalidRequestError("There is nothing to read: paste a text, or open a file.")
    heard.model = model or (await assistant.cards())[0].name
    async with aclosing(assistant.score(text, model=heard.model, top_logprobs=ALTERNATIVES)) as items:
        async for item in items:
            if not isinstance(item, Finish):
                heard.tokens.append(item)
            elif item.reason in CUT_SHORT:
                raise PellucidError(item.error or CUT_SHORT[item.reason])


def _end(listening: asyncio.Task[None], tokens: int) -> dict[str, Any]:
    """What is said at the end of a reading: nothing where all is well."""
    if listening.cancelled():
        return {"status": f"Stopped after {tokens} tokens." if tokens else "Stopped before a token was read."}
    error = listening.exception()
    if error is None:
        return {"status": ""}
    if not isinstance(error, PellucidError):
        logger.error("a reading failed", exc_info=error)
    return {"status": str(error) if isinstance(error, PellucidError) else UNEXPECTED, "wrong": True}


def export(kept: ReadState, form: str) -> dict[str, Any]:
    """What was read last, as a file for the browser to save. Raises InvalidRequestError where there is none."""
    if kept.reading is None:
        raise InvalidRequestError("Nothing was read yet.")
    if form == "csv":
        return {"n": next(_NUMBERS), "name": "reading.csv", "type": "text/csv", "text": kept.reading.csv()}
    if form == "json":
        return {"n": next(_NUMBERS), "name": "reading.json", "type": "application/json", "text": kept.reading.json()}
    raise InvalidRequestError(f"A reading is exported as csv or json, not as {form!r}.")


def figures(reading: ReadingFigures) -> list[tuple[str, str, str]]:
    """The figures of a reading: name, value and what it means."""
    found = [("tokens", str(len(reading.tokens)), "of this model's tokenizer")]
    if reading.perplexity is not None:
        found.append(("perplexity", f"{reading.perplexity:.3f}", "by token: how many choices it felt like; depends on the tokenizer"))
    if reading.bits_per_byte is not None:
        found.append(("bits per byte", f"{reading.bits_per_byte:.4f}", "which can be compared between models"))
    return [*found, ("bits in all", f"{reading.bits:.1f}", "the surprisal of the whole text")]


def lines_of(reading: ReadingFigures) -> list[dict[str, Any]]:
    """The lines that surprise most, with the index of the first token of each."""
    lines = sorted(reading.lines(), key=lambda line: line.mean, reverse=True)[:LINES_SHOWN]
    first = reading.first_tokens()
    return [_line(line, first[line.number]) for line in lines]


async def act(kept: ReadState, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Do what the script asks for; what to show then, None for what is shown already."""
    if asked.get("verb") == "stop":
        kept.stop()
        return None
    try:
        return kept.shown | {"file": await asyncio.to_thread(export, kept, str(asked.get("form", "")))}
    except PellucidError as error:
        return kept.shown | {"status": str(error), "wrong": True}


def opened(kept: ReadState, file: object) -> tuple[str | None, dict[str, Any]]:
    """Return the text of a file that the script has read, and what to show; None and the reason if it has no text."""
    try:
        name, content = content_of(file)
        return text_of(name, content), kept.shown | {"status": f"{name} is opened: read it now.", "wrong": False}
    except PellucidError as error:
        return None, kept.shown | {"status": str(error), "wrong": True}


def read_tab(page: gr.Blocks, assistant: Assistant) -> None:
    """The tab."""
    with gr.Tab("Read", id="read"):
        kept = gr.State(ReadState())
        with gr.Row():
            with gr.Column(scale=2, min_width=280, elem_id="pl-read-side"):
                text = gr.Textbox(
                    EXAMPLE, label="Text", info="any text or code; whitespace counts", lines=12, max_lines=24, elem_id="pl-read-text"
                )
                opener = _opener()
                model = gr.Dropdown([], label="Model", info="which reads")
                go = gr.Button("Read", variant="primary", elem_id="pl-read-go")
            with gr.Column(scale=3, min_width=280):
                view = gr.HTML(value=None, html_template="", js_on_load=SCRIPT, elem_id="pl-reading", apply_default_css=False)
                with gr.Row(elem_id="pl-histograms"):
                    ranks, entropies = gr.Plot(label="Ranks"), gr.Plot(label="Entropies")

    async def on_read(looking: ReadState, given: str, name: str) -> AsyncGenerator[Sequence[Any]]:
        before = looking.reading
        async with aclosing(read(assistant, looking, given, name)) as payloads:
            async for shown in payloads:
                yield [shown, gr.skip(), gr.skip()]
        if looking.reading is not None and looking.reading is not before:
            yield [gr.skip(), rank_histogram(looking.reading), entropy_histogram(looking.reading)]

    async def on_load() -> Any:
        return await model_choices(assistant, "which reads")

    async def on_act(event: gr.EventData, looking: ReadState) -> Any:
        shown = await act(looking, event._data or {})
        return gr.skip() if shown is None else shown

    async def on_file(event: gr.EventData, looking: ReadState) -> tuple[Any, dict[str, Any]]:
        found, shown = await asyncio.to_thread(opened, looking, event._data)
        return gr.skip() if found is None else found, shown

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    page.load(on_load, None, [model], **quiet)
    go.click(on_read, [kept, text, model], [view, ranks, entropies], **quiet)
    view.act(on_act, [kept], [view], trigger_mode="multiple", **quiet)
    opener.act(on_file, [kept], [text, view], trigger_mode="multiple", **quiet)


def _opener() -> gr.HTML:
    """The button that opens a file: its script reads the bytes and triggers ``act``."""
    return gr.HTML(
        value={"limit": MAX_FILE_BYTES}, html_template="", js_on_load=OPENER_SCRIPT, elem_id="pl-read-file", apply_default_css=False
    )


def _progress(text: str, heard: Sequence[Token]) -> dict[str, Any]:
    """How far a text is read, from 0 to 1, and that in words: how many tokens it has is guessed from the bytes of those that are known."""
    size, done = len(text.encode()), sum(len(token.bytes) for token in heard)
    if not size or not done:
        return {"share": 0.0, "words": ""}
    share = min(done / size, 1.0)
    return {"share": round(share, 4), "words": f"{len(heard)} of about {max(round(len(heard) / share), len(heard))} tokens"}


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
