"""Generates two answers to one prompt at the same time, then has each side score the other's answer."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import accumulate, count
from math import log
from typing import Any

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import PellucidError
from pellucid.tokens import ChatQuery, Finish, FinishReason, Message, ScoreQuery, Token, Usage
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import ASSISTANT, SYSTEM, USER
from pellucid_webui.conversations.turn_settings import ALTERNATIVES, TurnSettings
from pellucid_webui.inspection.alignment import Segment, align, first_difference, last_occurrence
from pellucid_webui.inspection.model_divergence import perplexity, segment_divergence, summarise
from pellucid_webui.inspection.word_diff import TextDifference, differences

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.1

STRONG_NATS = 4.0
"""The log ratio at which a token is marked most strongly: one side finds it 55 times as likely."""

NOTABLE_NATS = 2.0
"""The log ratio from which a token is listed as a divergence."""

EQUAL_NATS = 0.005
"""The log ratio below which two models count as equal."""

MAX_QUOTED_CHARACTERS = 40
"""Longest quotation of a difference."""

UNEXPECTED = "Internal server error; see the server log."

_NUMBERS = count(1)


@dataclass(eq=False)
class Side:
    """One side: its settings, its answer, and how the other side scores that answer (``read``)."""

    name: str
    settings: TurnSettings
    tokens: list[Token] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    usage: Usage | None = None
    end: FinishReason | None = None
    error: str | None = None
    read: list[Token] | None = None
    took: float | None = None
    _packed: int = 0

    @property
    def text(self) -> str:
        """The text of the answer so far."""
        return "".join(token.text for token in self.tokens)

    def pack(self) -> None:
        """Pack the tokens since the last call into a batch."""
        fresh = self.tokens[self._packed :]
        if fresh:
            self.batches.append(pack(fresh))
            self._packed += len(fresh)

    def segments(self) -> list[Segment]:
        """Return the answer aligned with the other side's scoring; empty before it is scored."""
        return [] if self.read is None else align(self.tokens, self.read)


@dataclass(eq=False)
class SideBySide:
    """A comparison of two sides, and its progress."""

    a: Side
    b: Side
    number: int = field(default_factory=lambda: next(_NUMBERS))
    status: str = ""
    stopped: bool = False
    ended: bool = False
    _tasks: Sequence[asyncio.Task[None]] = ()

    def stop(self) -> None:
        """Stop generating and scoring, and keep the text so far."""
        self.stopped = not self.ended
        for task in self._tasks:
            task.cancel()

    async def run(self, assistant: Assistant, prompt: str) -> AsyncGenerator[dict[str, Any]]:
        """Have both sides answer, then score each other's answer; yield payloads."""
        self.status = "Generating both answers…"
        async with aclosing(self._until([_answer(assistant, side, prompt) for side in (self.a, self.b)])) as payloads:
            async for shown in payloads:
                yield shown
        if not self.stopped:
            self.status = "Scoring each answer with the other side…"
            pairs = ((self.a, self.b), (self.b, self.a))
            async with aclosing(self._until([_score(assistant, side, other, prompt) for side, other in pairs])) as payloads:
                async for shown in payloads:
                    yield shown
        self.ended = True
        self.status = _verdict(self)
        yield await asyncio.to_thread(self.payload)

    def payload(self) -> dict[str, Any]:
        """Return what the script draws."""
        self.a.pack()
        self.b.pack()
        apart = differences(self.a.text, self.b.text) if self.ended else []
        return {
            "number": self.number,
            "status": self.status,
            "wrong": False,
            "running": not self.ended,
            "a": _side_payload(self.a, self.b, [difference.a for difference in apart]),
            "b": _side_payload(self.b, self.a, [difference.b for difference in apart]),
            "summary": summary_rows(self.a, self.b) if self.ended else [],
            "divergences": divergences(self.a, self.b, apart) if self.ended else [],
        }

    async def _until(self, works: Sequence[Coroutine[Any, Any, None]]) -> AsyncGenerator[dict[str, Any]]:
        self._tasks = [asyncio.create_task(work) for work in works]
        try:
            yield self.payload()
            while not all(task.done() for task in self._tasks):
                await asyncio.wait(self._tasks, timeout=TICK_SECONDS)
                yield self.payload()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        for task, side in zip(self._tasks, (self.a, self.b), strict=True):
            if not task.cancelled() and (error := task.exception()) is not None:
                side.error = side.error or _sentence(error)


async def _answer(assistant: Assistant, side: Side, prompt: str) -> None:
    """Have a side answer. Raises a PellucidError if it cannot, or if the answer is cut short."""
    begun = time.monotonic()
    stream = assistant.chat(ChatQuery(_messages(side, prompt), side.settings.sampling(), model=side.settings.model or None))
    try:
        async with aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Finish):
                    side.usage, side.end = item.usage, item.reason
                    _check(item)
                else:
                    side.tokens.append(item)
    finally:
        side.took = time.monotonic() - begun


async def _score(assistant: Assistant, side: Side, other: Side, prompt: str) -> None:
    """Have ``other`` score the answer of ``side`` as if it were its own. Raises a PellucidError if it cannot."""
    if not side.text.strip():
        return
    conversation = [*_messages(other, prompt), Message(ASSISTANT, side.text)]
    tokens: list[Token] = []
    async with aclosing(assistant.score(ScoreQuery(conversation, model=other.settings.model or None, top_logprobs=ALTERNATIVES))) as items:
        async for item in items:
            if isinstance(item, Finish):
                _check(item)
            else:
                tokens.append(item)
    side.read = last_occurrence(tokens, side.text)
    if side.read is None:
        raise PellucidError(f"The chat template of {other.name}'s model changes this answer, so {other.name} cannot score it.")


def _check(finish: Finish) -> None:
    """Raise a PellucidError if a stream was cut short."""
    if finish.reason not in (FinishReason.STOP, FinishReason.LENGTH):
        raise PellucidError(finish.error or f"The server ended this answer early: {finish.reason}.")


def _sentence(error: BaseException) -> str:
    if isinstance(error, PellucidError):
        return str(error)
    logger.error("A side of a comparison failed.", exc_info=error)
    return UNEXPECTED


def _messages(side: Side, prompt: str) -> list[Message]:
    system = [Message(SYSTEM, side.settings.system)] if side.settings.system.strip() else []
    return [*system, Message(USER, prompt)]


def _side_payload(side: Side, other: Side, apart: Sequence[tuple[int, int]]) -> dict[str, Any]:
    settings = side.settings
    chosen = f"temperature {settings.temperature:g}" if settings.temperature else "greedy"
    speed = ""
    if side.usage is not None and side.took is not None and side.usage.decode and side.usage.generated > 1:
        speed = f"{side.usage.generated} tokens in {side.took:.1f} s, {(side.usage.generated - 1) / side.usage.decode:.1f} tokens/s"
    if side.end is FinishReason.LENGTH:
        speed += f"{'. ' if speed else ''}Stopped at the token limit of {settings.max_tokens} (see Sampling)."
    return {
        "about": f"{settings.model}, {chosen}" + (f", {settings.system!r}" if settings.system.strip() else ""),
        "batches": list(side.batches),
        "note": side.error or speed,
        "wrong": side.error is not None,
        "marks": json.dumps(marks(side, other)) if side.read is not None else None,
        "words": [f"more likely under {other.name}", f"more likely under {side.name}"],
        "apart": [_tokens_in(side.tokens, characters) for characters in apart],
    }


def marks(side: Side, other: Side) -> list[dict[str, Any] | None]:
    """Return for each token of a side how the other side scores it: a sentence, and a number from -1 to 1."""
    found: list[dict[str, Any] | None] = []
    for segment in side.segments():
        ratio = segment.log_ratio
        mark = None
        if ratio is not None:
            value = max(-1.0, min(1.0, ratio / STRONG_NATS))
            mark = {"text": words(segment, ratio, side.name, other.name), "value": round(value, 4)}
        found += [mark] * len(segment.a)
    return found


def divergences(a: Side, b: Side, apart: Sequence[TextDifference]) -> list[tuple[str, int, str]]:
    """Return places to look at: side, token index, description. First the differences of the texts, then notable tokens."""
    found: list[tuple[str, int, str]] = []
    for difference in apart:
        in_a = difference.a[0] < difference.a[1]
        side, (at, _) = (a, difference.a) if in_a else (b, difference.b)
        found.append((side.name.lower(), _tokens_in(side.tokens, (at, at + 1))[0], _describe(a, b, difference)))
    for side, other in ((a, b), (b, a)):
        index = 0
        for segment in side.segments():
            ratio = segment.log_ratio
            if ratio is not None and abs(ratio) >= NOTABLE_NATS:
                found.append((side.name.lower(), index, f"{side.name}'s answer: {words(segment, ratio, side.name, other.name)}"))
            index += len(segment.a)
    return found


def summary_rows(a: Side, b: Side) -> list[list[str]]:
    """Return the table of figures of each text under both models."""
    both = [None if side.read is None else summarise(side.tokens, side.read) for side in (a, b)]
    return [
        ["", "A's answer", "B's answer"],
        ["perplexity under A", *_numbers(a.tokens, b.read)],
        ["perplexity under B", *_numbers(a.read, b.tokens)],
        ["same first choice", *[_share(None if one is None else one.agreement) for one in both]],
        ["KL divergence, bits per token, at least", *[_number(None if one is None or one.kl is None else one.kl / log(2)) for one in both]],
        ["tokens", *[str(len(side.tokens)) for side in (a, b)]],
        ["seconds", *["–" if side.took is None else f"{side.took:.1f}" for side in (a, b)]],
    ]


def words(segment: Segment, ratio: float, here: str, there: str) -> str:
    """Describe a log ratio between the side ``here``, which generated the segment, and the side ``there``."""
    kl = segment_divergence(segment)
    distance = "" if kl is None else f", KL at least {kl / log(2):.3f} bits"
    if abs(ratio) < EQUAL_NATS:
        return f"equally likely under {here} and {there}{distance}"
    return (
        f"log ratio {ratio / log(2):+.2f} bits: {'more likely' if ratio > 0 else 'less likely'} under {here} than under {there}{distance}"
    )


def _verdict(comparison: SideBySide) -> str:
    if comparison.stopped:
        return "Stopped before both answers were scored."
    if comparison.a.error or comparison.b.error:
        return "Something failed; see the message below the answer."
    at = first_difference(comparison.a.text, comparison.b.text)
    difference = "Both answers are equal." if at is None else f"The answers differ from character {at + 1} on."
    one = comparison.a.settings.model == comparison.b.settings.model and comparison.a.settings.system == comparison.b.settings.system
    return (
        f"{difference} Both sides have the same model and system prompt, so they score text equally: only the sampled tokens differ."
        if one
        else difference
    )


def _describe(a: Side, b: Side, difference: TextDifference) -> str:
    text_a, text_b = a.text[slice(*difference.a)], b.text[slice(*difference.b)]
    if text_a and text_b:
        return f"{a.name} has {_quoted(text_a)}, {b.name} has {_quoted(text_b)}."
    return f"Only {a.name if text_a else b.name} has {_quoted(text_a or text_b)}."


def _quoted(text: str) -> str:
    shown = text if len(text) <= MAX_QUOTED_CHARACTERS else text[: MAX_QUOTED_CHARACTERS - 1] + "…"
    return f"“{shown}”".replace("\n", "↵")


def _tokens_in(tokens: Sequence[Token], characters: tuple[int, int]) -> tuple[int, int]:
    """Return the token range (start, end) of a character range; an empty one for an empty range."""
    start, end = characters
    ends = list(accumulate(len(token.text) for token in tokens))
    first = bisect_right(ends, start)
    return (first, first) if start == end else (first, bisect_left(ends, end) + 1)


def _numbers(*read: Sequence[Token] | None) -> list[str]:
    return [_number(None if tokens is None else perplexity(tokens)) for tokens in read]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
