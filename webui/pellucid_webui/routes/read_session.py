"""Readings of a text or a diff, by one or two models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.turn_settings import ALTERNATIVES
from pellucid_webui.inspection.compressed_reading import PART_TOKENS, CompressedReading, as_json
from pellucid_webui.inspection.diff_reading import HunkReading
from pellucid_webui.inspection.reading_difference import ReadingDifference, common_text, difference
from pellucid_webui.inspection.reading_figures import ReadingFigures
from pellucid_webui.inspection.scoring import score
from pellucid_webui.inspection.unified_diff import ReadAs, is_diff, parse_diff
from pellucid_webui.page_threads import in_page_thread
from pellucid_webui.routes.read_payload import diff_result, text_result, windows_note

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2

NO_SECOND = "none"
"""Chosen for a single model."""

TOKEN_CHARACTERS = 4
"""A text that was read in part counts as if it had been read."""

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
    kind: str = ReadAs.AUTOMATIC

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Self:
        text, model, second, kind = (str(asked.get(name) or "") for name in ("text", "model", "second", "kind"))
        return cls(text, model, "" if second == NO_SECOND else second, kind or ReadAs.AUTOMATIC)

    @property
    def is_diff(self) -> bool:
        return self.kind == ReadAs.DIFF or (self.kind == ReadAs.AUTOMATIC and is_diff(self.text))


@dataclass(eq=False)
class Reading:
    """A reading, running or done. ``result`` is for the page, once all is read."""

    request: ReadRequest
    number: int = field(default_factory=lambda: next(_NUMBERS))
    first: CompressedReading = field(default_factory=CompressedReading)
    second: CompressedReading | None = None
    hunks: list[HunkReading] = field(default_factory=list)
    difference: ReadingDifference | None = None
    contexts: Mapping[str, int] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    _scoring: asyncio.Task[None] | None = None

    @property
    def tokens(self) -> int:
        second = [] if self.second is None else self.second.tokens
        return len(self.first.tokens) + len(second) + sum(len(hunk.old) + len(hunk.new) for hunk in self.hunks)

    @property
    def size(self) -> int:
        """The memory that the reading takes, in tokens."""
        return max(self.tokens, len(self.request.text) // TOKEN_CHARACTERS)

    @property
    def asked(self) -> dict[str, str]:
        """The text and the choices, as the page has them."""
        request = self.request
        return {
            "text": request.text,
            "model": self.first.model,
            "second": request.second or NO_SECOND,
            "kind": request.kind,
        }

    @property
    def _has_second(self) -> bool:
        return bool(self.request.second) and self.request.second != self.first.model

    async def run(self, assistant: Assistant) -> AsyncGenerator[dict[str, Any]]:
        """Read everything, and yield the progress, and then a status and the result, if any."""
        scoring = self._scoring = asyncio.create_task(self._read(assistant))
        try:
            before = 0
            yield self._progress()
            while not scoring.done():
                await asyncio.wait([scoring], timeout=TICK_SECONDS)
                if self.tokens > before:
                    before = self.tokens
                    yield self._progress()
        finally:
            scoring.cancel()
            await asyncio.wait([scoring])
        if self.tokens:
            self.result = await in_page_thread(self._finished)
        yield _outcome(scoring, self.tokens) | {"result": self.result}

    def stop(self) -> None:
        if self._scoring is not None:
            self._scoring.cancel()

    def part(self, kind: object, start: object) -> str:
        """Return JSON of columns, bits saved, alternatives or both models' figures, by kind."""
        if not isinstance(start, int) or isinstance(start, bool) or start < 0:
            raise InvalidRequestError("The page asked for tokens without a number: reload the page.")
        found = self.difference
        match kind:
            case "tokens":
                return as_json(self.first.columns(start))
            case "alternatives":
                return self.first.part(start)
            case "saved":
                tokens = () if found is None else found.tokens
                return as_json([None if one is None else round(one, 3) for one in tokens])
            case "second":
                first = start * PART_TOKENS
                return as_json([] if found is None else found.figures(first, first + PART_TOKENS))
        raise InvalidRequestError("The page asked for a part of a reading that does not exist: reload the page.")

    def export(self, form: object) -> dict[str, str]:
        """Return the reading as a file for the browser to save."""
        if not self.first.tokens:
            raise InvalidRequestError("There is no reading to export yet: read a text first.")
        found = self.first.with_alternatives()
        if form == "csv":
            return {"name": "reading.csv", "type": "text/csv", "text": found.csv()}
        if form == "json":
            return {"name": "reading.json", "type": "application/json", "text": found.json()}
        raise InvalidRequestError(f"Readings are exported as csv or json, not as {form!r}.")

    async def _read(self, assistant: Assistant) -> None:
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

    def _finished(self) -> dict[str, Any]:
        if self.hunks:
            found = diff_result(self.hunks, self.first.model)
        else:
            if self.second is not None and self.second.tokens:
                first, second = common_text(self.first.tokens, self.second.tokens)
                self.difference = difference(
                    ReadingFigures(self.first.model, tuple(first)), ReadingFigures(self.second.model, tuple(second))
                )
            found = text_result(self.first.figures(), self.difference)
        return {"number": self.number, "note": windows_note(self._longest(), self.contexts)} | found

    def _longest(self) -> dict[str, int]:
        if self.hunks:
            return {self.first.model: max(max(len(hunk.old), len(hunk.new)) for hunk in self.hunks)}
        readings = [self.first] if self.second is None else [self.first, self.second]
        return {reading.model: len(reading.tokens) for reading in readings}

    def _progress(self) -> dict[str, Any]:
        share, words = self._share()
        return {"number": self.number, "tokens": len(self.first.tokens), "share": round(share, 4), "words": words}

    def _share(self) -> tuple[float, str]:
        """Return the share read so far, with an estimated number of tokens."""
        if self.hunks:
            done = sum(bool(hunk.old) + bool(hunk.new) for hunk in self.hunks)
            every = sum(len(hunk.sides()) for hunk in self.hunks)
            return done / every, f"{done} of {every} texts"
        reading = self.first if self.second is None else self.second
        size, done = len(self.request.text.encode()), sum(len(token.bytes) for token in reading.tokens)
        if not size or not done:
            return 0.0, ""
        share, read = min(done / size, 1.0), len(reading.tokens)
        words = f"{read} of about {max(round(read / share), read)} tokens"
        if self._has_second:  # The second model reads the text after the first model.
            share = (share + (self.second is not None)) / 2
            words += f" by {reading.model}"
        return share, words


async def _score(assistant: Assistant, text: str, model: str, add: Callable[[Token], None]) -> None:
    query = ScoreQuery(text, model=model, top_logprobs=ALTERNATIVES, windows=True)
    await score(assistant, query, add, CUT_SHORT.__getitem__)


def _outcome(scoring: asyncio.Task[None], tokens: int) -> dict[str, Any]:
    if scoring.cancelled():
        status = f"Stopped after {tokens} tokens." if tokens else "Stopped before a token was read."
        return {"status": status, "wrong": False}
    error = scoring.exception()
    if error is None:
        return {"status": "", "wrong": False}
    if not isinstance(error, PellucidError):
        logger.error("A reading failed.", exc_info=error)
    return {"status": str(error) if isinstance(error, PellucidError) else UNEXPECTED, "wrong": True}
