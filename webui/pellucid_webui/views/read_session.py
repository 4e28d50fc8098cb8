"""Readings of a text or a diff, kept to serve tokens and to survive a reload."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.turn_settings import ALTERNATIVES
from pellucid_webui.inspection.compressed_reading import PART_TOKENS, CompressedReading, as_json, numbers
from pellucid_webui.inspection.diff_reading import HunkReading
from pellucid_webui.inspection.reading_difference import ReadingDifference, common_text, difference
from pellucid_webui.inspection.reading_figures import ReadingFigures
from pellucid_webui.inspection.scoring import score
from pellucid_webui.inspection.unified_diff import is_diff, parse_diff
from pellucid_webui.page_threads import in_page_thread
from pellucid_webui.views.read_payload import NOTHING, diff_result, text_result, windows_note

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2

AUTOMATIC, TEXT, DIFF = "Automatic", "Text", "Diff"
"""With Automatic, a diff is read as a diff."""

MAX_KEPT_TOKENS = 250_000
"""For reloaded pages; the oldest readings are dropped first."""

CUT_SHORT: Mapping[FinishReason, str] = {
    FinishReason.CANCELLED: "The server cancelled the reading: press Read to try again.",
    FinishReason.DEADLINE: "The reading reached its time limit.",
    FinishReason.SUPERSEDED: "The reading was superseded by a newer request.",
    FinishReason.ERROR: "The reading failed.",
}

UNEXPECTED = "Internal server error; see the server log."

_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class ReadRequest:
    text: str
    model: str = ""
    second: str = ""
    kind: str = AUTOMATIC

    @property
    def is_diff(self) -> bool:
        return self.kind == DIFF or (self.kind == AUTOMATIC and is_diff(self.text))


@dataclass(eq=False)
class Reading:
    """A reading, running or done."""

    request: ReadRequest
    number: int = field(default_factory=lambda: next(_NUMBERS))
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    first: CompressedReading = field(default_factory=CompressedReading)
    second: CompressedReading | None = None
    hunks: list[HunkReading] = field(default_factory=list)
    difference: ReadingDifference | None = None
    contexts: Mapping[str, int] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        second = [] if self.second is None else self.second.tokens
        return len(self.first.tokens) + len(second) + sum(len(hunk.old) + len(hunk.new) for hunk in self.hunks)

    @property
    def _has_second(self) -> bool:
        return bool(self.request.second) and self.request.second != self.first.model

    async def read(self, assistant: Assistant) -> None:
        """Read everything. Raises a PellucidError on failure."""
        request = self.request
        if not request.text:
            raise InvalidRequestError("There is no text to read: paste one, or open a file.")
        cards = await assistant.cards()
        self.contexts = {card.name: card.context for card in cards}
        self.first.model = request.model or cards[0].name
        if request.is_diff:
            self.hunks = [HunkReading(hunk) for hunk in parse_diff(request.text)]
            for hunk in self.hunks:
                for text, tokens in hunk.sides():
                    await _score(assistant, text, self.first.model, tokens.append)
            return
        await _score(assistant, request.text, self.first.model, self.first.append)
        if self._has_second:
            self.second = CompressedReading(request.second)
            await _score(assistant, request.text, request.second, self.second.append)

    def finish(self) -> None:
        if self.hunks:
            found = diff_result(self.hunks, self.first.model)
        else:
            reading = self.first.figures()
            if self.second is not None and self.second.tokens:
                first, second = common_text(self.first.tokens, self.second.tokens)
                self.difference = difference(
                    ReadingFigures(self.first.model, tuple(first)), ReadingFigures(self.second.model, tuple(second))
                )
            found = text_result(reading, self.difference)
        self.shown = (
            dict(NOTHING)
            | {"number": self.number, "key": self.key, "note": windows_note(self._longest(), self.contexts)}
            | found
        )

    def progress_payload(self) -> dict[str, Any]:
        return dict(NOTHING) | {
            "number": self.number,
            "tokens": len(self.first.tokens),
            "status": "Reading…",
            "progress": self._progress(),
            "model": self.first.model,
        }

    def part(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return columns, bits saved, alternatives, or both models' figures, by ``kind``."""
        kind, start = asked.get("kind"), asked.get("start")
        if not isinstance(start, int) or isinstance(start, bool) or start < 0:
            raise InvalidRequestError("The page asked for tokens without a number: reload the page.")
        if kind == "tokens":
            data = as_json(self.first.columns(start))
        elif kind == "saved":
            data = as_json(
                []
                if self.difference is None
                else [None if one is None else numbers([one])[0] for one in self.difference.tokens]
            )
        elif kind == "alternatives":
            data = self.first.part(start)
        elif kind == "second":
            first = start * PART_TOKENS
            data = as_json([] if self.difference is None else self.difference.figures(first, first + PART_TOKENS))
        else:
            raise InvalidRequestError("The page asked for a part of a reading that does not exist: reload the page.")
        return {"n": asked.get("n"), "number": self.number, "kind": kind, "start": start, "data": data}

    def _longest(self) -> dict[str, int]:
        if self.hunks:
            return {self.first.model: max(max(len(hunk.old), len(hunk.new)) for hunk in self.hunks)}
        readings = [self.first] if self.second is None else [self.first, self.second]
        return {reading.model: len(reading.tokens) for reading in readings}

    def _progress(self) -> dict[str, Any]:
        """Return the share read so far, with an estimated number of tokens."""
        if self.hunks:
            done = sum(bool(hunk.old) + bool(hunk.new) for hunk in self.hunks)
            every = sum(len(hunk.sides()) for hunk in self.hunks)
            return {"share": round(done / every, 4), "words": f"{done} of {every} texts"}
        reading = self.first if self.second is None else self.second
        size, done = len(self.request.text.encode()), sum(len(token.bytes) for token in reading.tokens)
        if not size or not done:
            return {"share": 0.0, "words": ""}
        share, read = min(done / size, 1.0), len(reading.tokens)
        words = f"{read} of about {max(round(read / share), read)} tokens"
        if self._has_second:  # The second model reads the text after the first model.
            share = (share + (self.second is not None)) / 2
            words += f" by {reading.model}"
        return {"share": round(share, 4), "words": words}


@dataclass(eq=False)
class ReadState:
    last: Reading | None = None
    running: Reading | None = None
    scoring: asyncio.Task[None] | None = None

    def __deepcopy__(self, _: object) -> ReadState:
        """Return a new state: Gradio copies the initial state for each tab."""
        return ReadState()

    @property
    def shown(self) -> dict[str, Any]:
        return dict(NOTHING) if self.last is None else self.last.shown

    def stop(self) -> None:
        if self.scoring is not None:
            self.scoring.cancel()

    def part(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        found = next(
            (one for one in (self.running, self.last) if one is not None and one.number == asked.get("number")), None
        )
        return None if found is None else found.part(asked)


class KeptReadings:
    """All tabs' last readings, for reloaded pages. Use only from the event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[str, Reading]] = OrderedDict()

    def keep(self, owner: str, reading: Reading) -> None:
        """Keep a reading, and drop the oldest readings beyond the limit."""
        self._kept[reading.key] = (owner, reading)
        self._kept.move_to_end(reading.key)
        while len(self._kept) > 1 and sum(kept.tokens for _, kept in self._kept.values()) > MAX_KEPT_TOKENS:
            self._kept.popitem(last=False)

    def find(self, owner: str, key: object) -> Reading | None:
        kept = self._kept.get(key) if isinstance(key, str) else None
        return kept[1] if kept is not None and kept[0] == owner else None


async def read(assistant: Assistant, state: ReadState, request: ReadRequest) -> AsyncGenerator[dict[str, Any]]:
    """Read a text and yield payloads. Without any token, keep the last reading."""
    reading = state.running = Reading(request)
    scoring = state.scoring = asyncio.create_task(reading.read(assistant))
    try:
        before = 0
        yield reading.progress_payload()
        while not scoring.done():
            await asyncio.wait([scoring], timeout=TICK_SECONDS)
            if reading.tokens > before:
                before = reading.tokens
                yield reading.progress_payload()
    finally:
        scoring.cancel()
        await asyncio.wait([scoring])
        state.running = None
    if reading.tokens:
        await in_page_thread(reading.finish)
        state.last = reading
    yield state.shown | _outcome(scoring, reading.tokens)


async def _score(assistant: Assistant, text: str, model: str, add: Callable[[Token], None]) -> None:
    query = ScoreQuery(text, model=model, top_logprobs=ALTERNATIVES, windows=True)
    await score(assistant, query, add, CUT_SHORT.__getitem__)


def _outcome(scoring: asyncio.Task[None], tokens: int) -> dict[str, Any]:
    if scoring.cancelled():
        return {"status": f"Stopped after {tokens} tokens." if tokens else "Stopped before a token was read."}
    error = scoring.exception()
    if error is None:
        return {"status": ""}
    if not isinstance(error, PellucidError):
        logger.error("A reading failed.", exc_info=error)
    return {"status": str(error) if isinstance(error, PellucidError) else UNEXPECTED, "wrong": True}


def export(state: ReadState, form: str) -> dict[str, Any]:
    """Return the last reading as a file for the browser to save."""
    if state.last is None or not state.last.first.tokens:
        raise InvalidRequestError("There is no reading to export yet: read a text first.")
    found = state.last.first.with_alternatives()
    if form == "csv":
        return {"n": next(_NUMBERS), "name": "reading.csv", "type": "text/csv", "text": found.csv()}
    if form == "json":
        return {"n": next(_NUMBERS), "name": "reading.json", "type": "application/json", "text": found.json()}
    raise InvalidRequestError(f"Readings are exported as csv or json, not as {form!r}.")


async def act(state: ReadState, event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Run an action; return the payload to show, or None to change nothing."""
    if event.get("verb") == "stop":
        state.stop()
        return None
    try:
        return state.shown | {"file": await in_page_thread(export, state, str(event.get("form", "")))}
    except PellucidError as error:
        return state.shown | {"status": str(error), "wrong": True}
