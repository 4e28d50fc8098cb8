"""Simulated typing at the end of a line, with a completion request per keystroke."""

from __future__ import annotations

import time
import tomllib
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pellucid.errors import UnavailableError
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import CompletionQuery, Priority, SamplingParams, Terms
from pellucid.vocabulary.token import Token

LONGEST = SamplingParams(max_tokens=64)
"""Greedy, and longer than most lines."""
TERMS = Terms(Priority.COMPLETION, key="bench")
"""An editor's terms: a keystroke supersedes the previous keystroke."""


@dataclass(frozen=True, slots=True)
class TypingSession:
    before: str
    typed: str
    after: str


@dataclass(frozen=True, slots=True)
class Keystroke:
    """The seconds until the first line is complete, and the uncached prompt tokens."""

    seconds: float
    computed: int


@cache
def session() -> TypingSession:
    fields = tomllib.loads((Path(__file__).with_name("typing.toml")).read_text(encoding="utf-8"))
    return TypingSession(fields["before"], fields["typed"], fields["after"])


async def replay(assistant: LocalAssistant, text: TypingSession) -> list[Keystroke]:
    """Replay keystrokes in sequence, after an uncounted request that opens the file."""
    asked = [
        await _first_line(assistant, text.before + text.typed[:count], text.after)
        for count in range(len(text.typed) + 1)
    ]
    return asked[1:]


async def _first_line(assistant: LocalAssistant, prefix: str, suffix: str) -> Keystroke:
    start = time.perf_counter()
    last: Token | Finish | None = None
    async with aclosing(
        assistant.complete(CompletionQuery(prefix, suffix, params=LONGEST, stop=("\n",), terms=TERMS))
    ) as items:
        async for item in items:
            last = item
    assert isinstance(last, Finish), "a stream ends with a Finish"
    if last.reason is FinishReason.ERROR:
        raise UnavailableError(f"The model failed during the measurement: {last.error}")
    return Keystroke(time.perf_counter() - start, last.usage.computed)
