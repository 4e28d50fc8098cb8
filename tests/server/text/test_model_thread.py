"""Tests of threads for tokenizer processes: the event loop and all models continue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from pellucid.errors import QueueFullError
from pellucid.text import model_thread
from pellucid.text.assistant import LocalAssistant
from pellucid.text.text_model import TextModel, run_off_loop
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from support.servers.scripted_engine import ScriptedEngine, byte_tokenizer, scripted_assistant

PATIENCE = 60
"""Seconds that are reached only where a test fails."""


async def _all(items: AsyncIterator[Any]) -> None:
    async for _ in items:
        pass


async def tokenized(served: TextModel) -> list[int]:
    return await run_off_loop(served, 0, lambda: served.tokenizer.encode("a"))


VERBS: dict[str, Callable[[LocalAssistant], Awaitable[Any]]] = {
    "complete": lambda assistant: _all(assistant.complete(CompletionQuery("a"))),
    "infill": lambda assistant: _all(assistant.complete(CompletionQuery("a", "b"))),
    "chat": lambda assistant: _all(assistant.chat(ChatQuery([Message("user", "a")]))),
    "score": lambda assistant: _all(assistant.score(ScoreQuery("a"))),
    "token_ids": lambda assistant: assistant.token_ids("a"),
    "infill_prompt": lambda assistant: assistant.infill_prompt(CompletionQuery("a", "b")),
    "tokenize": lambda assistant: tokenized(assistant.models.find(None)),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_loop_runs_while_a_tokenizer_is_waited_for(verb: str) -> None:
    """No verb blocks the event loop while the process of a tokenizer reads a text."""
    begun, released = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    plain = byte_tokenizer()

    def encode(text: str) -> list[int]:
        loop.call_soon_threadsafe(begun.set)
        assert released.wait(PATIENCE), "the event loop is held up"
        return plain.encode_text(text)

    assistant = scripted_assistant(ScriptedEngine([]), tokenizer=replace(plain, encode_text=encode, apart=True))
    asking = asyncio.ensure_future(VERBS[verb](assistant))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    assert not asking.done()
    released.set()
    await asyncio.wait_for(asking, PATIENCE)


async def test_other_models_have_threads() -> None:
    """Texts waiting for a tokenizer's process occupy no shared thread."""
    released = threading.Event()
    assistant = scripted_assistant(ScriptedEngine([]), tokenizer=replace(byte_tokenizer(), apart=True))
    served = assistant.models.find(None)
    waiting = [asyncio.ensure_future(run_off_loop(served, 0, lambda: released.wait(PATIENCE))) for _ in range(50)]
    other = scripted_assistant(ScriptedEngine([]))
    try:
        ids = await asyncio.wait_for(tokenized(other.models.find(None)), PATIENCE)
    finally:
        released.set()
    assert ids == [ord("a")]
    assert all(await asyncio.gather(*waiting))


async def test_waiting_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is refused with QueueFullError if the wait would be too long."""
    monkeypatch.setattr(model_thread, "MAX_WAIT_SECONDS", -1)
    with pytest.raises(QueueFullError, match="tokenizer or chat template of the model is busy"):
        await model_thread.ModelThread("the model").run(lambda: "text")
