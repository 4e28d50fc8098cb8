"""The typing session is real code, and requests completions like an editor."""

from __future__ import annotations

import ast
from collections.abc import AsyncGenerator
from typing import cast

import pytest

from pellucid.bench.keystrokes import TypingSession, replay, session
from pellucid.errors import UnavailableError
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.query import CompletionQuery, Priority
from pellucid.vocabulary.token import Token
from support.silent_assistant import SilentAssistant


class Answering(SilentAssistant):
    """An assistant with a record of requests; the computed tokens equal the number of requests."""

    def __init__(self, reason: FinishReason = FinishReason.STOP) -> None:
        self.asked: list[CompletionQuery] = []
        self.reason = reason

    async def complete(
        self, query: CompletionQuery, *, on_usage: OnUsage | None = None
    ) -> AsyncGenerator[Token | Finish]:
        self.asked.append(query)
        yield Token(1, "x", b"x", 0, -0.1, 1, 0.5)
        yield Finish(self.reason, Usage(computed=len(self.asked)), error="the device is gone")


def test_session_is_a_program() -> None:
    """The text around the cursor is incomplete Python, with enough keystrokes for a percentile."""
    text = session()

    ast.parse(text.before + text.typed + "[p.month] += p.amount" + text.after)
    assert len(text.typed) >= 20
    assert len(text.before + text.after) > 3000


async def test_each_keystroke_asks_for_the_first_line() -> None:
    """Each keystroke adds a character to the prefix; the opening request does not count."""
    assistant = Answering()

    strokes = await replay(cast("LocalAssistant", assistant), TypingSession("a = ", "ma", "\n"))

    assert [(query.prefix, query.suffix) for query in assistant.asked] == [
        ("a = ", "\n"),
        ("a = m", "\n"),
        ("a = ma", "\n"),
    ]
    assert all(query.stop == ("\n",) and query.terms.priority is Priority.COMPLETION for query in assistant.asked)
    assert [stroke.computed for stroke in strokes] == [2, 3]
    assert all(stroke.seconds >= 0 for stroke in strokes)


async def test_failing_model() -> None:
    """A failing model ends the benchmark with the reason."""
    with pytest.raises(UnavailableError, match="the device is gone"):
        await replay(cast("LocalAssistant", Answering(FinishReason.ERROR)), TypingSession("a", "b", ""))
