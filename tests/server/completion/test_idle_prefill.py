"""Tests of prefills: chunks of related files are read while the user pauses."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from pellucid.completion import idle_prefill
from pellucid.completion.context.repository_index import RelatedPiece
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.idle_prefill import IdlePrefill
from pellucid.errors import UnavailableError

HERE = DocumentCursor("file:///a.py", "x = ", "")


class Work:
    """The policy, the ring, the files and the completer of a prefill."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.read: list[DocumentCursor] = []
        self.allowed = True
        self.error: Exception | None = None
        self.found: list[DocumentCursor] = []
        self.more = 0
        self.broken = False
        self.definitions = self.adopted = 0
        self.may_finish = asyncio.Event()
        work = cast("Any", self)
        self.on_battery = False
        self.idle = IdlePrefill(work, work, work, work, work, saves_power=lambda: self.on_battery)

    def refusal(self, _: DocumentCursor) -> str | None:
        return None if self.allowed else "The document is secret."

    async def related(self, cursor: DocumentCursor) -> list[RelatedPiece]:
        self.found.append(cursor)
        if self.broken:
            raise RuntimeError("a disk")
        return []

    def note_related(self, _: object) -> None:
        self.chunks = max(self.chunks, 0) + self.more

    def promote(self, _: str) -> bool:
        self.chunks -= 1
        return self.chunks >= 0

    def prepare(self, _: DocumentCursor) -> bool:
        return self.definitions is not self.adopted

    def adopt(self) -> None:
        self.adopted = self.definitions

    async def prefill(self, cursor: DocumentCursor, *, prepared: bool = False) -> None:
        self.read.append(cursor)
        if prepared:
            await self.may_finish.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_prefill, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(idle_prefill, "CHUNK_SECONDS", 0.0)


async def settle() -> None:
    """Let all tasks run until they wait for something outside."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_one_prompt_for_each_chunk() -> None:
    """Each chunk is followed by a prefill at the last cursor, until no chunk is left."""
    work = Work(chunks=2)
    work.idle.restart(HERE)
    await settle()
    assert work.read == [HERE, HERE]
    assert work.found == [HERE]


async def test_an_opened_document_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompt of an opened document is read without a pause, with the queued chunks."""
    monkeypatch.setattr(idle_prefill, "IDLE_SECONDS", 3600.0)
    work = Work(chunks=2)
    work.idle.restart(HERE, at_once=True)
    await settle()
    assert (work.read, work.found) == ([HERE, HERE], [HERE])


async def test_nothing_on_battery() -> None:
    """While power is saved, a pause makes the model read nothing."""
    work = Work(chunks=2)
    work.on_battery = True
    work.idle.restart(HERE)
    await settle()
    assert (work.read, work.found) == ([], [])


async def test_what_is_queued_comes_first() -> None:
    """Queued chunks are read before the search for more chunks, and found chunks afterwards."""
    work = Work(chunks=1)
    work.more = 2
    work.idle.restart(HERE)
    await settle()
    assert len(work.read) == 3


async def test_definitions_are_read_before_they_are_used() -> None:
    """Definitions are adopted once the model has read all; a keystroke ends the reading."""
    work = Work(chunks=1)
    work.definitions = 1
    work.idle.restart(HERE)
    await settle()
    assert (work.read, work.adopted, work.chunks) == ([HERE], 0, 1)

    work.idle.restart(HERE)
    await settle()
    assert (work.read, work.adopted) == ([HERE, HERE], 0)

    work.may_finish.set()
    await settle()
    assert (work.read, work.adopted, work.chunks) == ([HERE] * 3, 1, -1)


async def test_definitions_that_come_later() -> None:
    """Definitions that come after the pause are read after a further pause."""
    work = Work(chunks=0)
    work.may_finish.set()
    work.idle.restart(HERE)
    await settle()
    work.definitions = 1
    work.idle.continue_in("file:///b.py")
    await settle()
    assert work.adopted == 0
    work.idle.continue_in(HERE.uri)
    await settle()
    assert (work.read, work.adopted) == ([HERE], 1)


async def test_a_failed_search_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A failed search for chunks is logged after the queued chunks were read."""
    work = Work(chunks=1)
    work.broken = True
    work.idle.restart(HERE)
    await settle()
    assert len(work.read) == 1
    assert "Looking for related files failed." in caplog.text


async def test_nothing_of_what_must_not_be_sent() -> None:
    """A document that must not be sent is not read."""
    work = Work(chunks=2)
    work.allowed = False
    work.idle.restart(HERE)
    await settle()
    assert work.read == work.found == []


async def test_stopped() -> None:
    """Closing the last cursor's document stops the wait, unlike closing a different document."""
    stopped, other = Work(chunks=1), Work(chunks=1)
    for work, closed in ((stopped, HERE.uri), (other, "file:///b.py")):
        work.idle.restart(HERE)
        work.idle.stop_in(closed)
    await settle()
    assert (stopped.read, other.read) == ([], [HERE])


async def test_an_error_ends_it() -> None:
    """An unreachable server ends the task without an error, and the next restart tries again."""
    work = Work(chunks=2)
    work.error = UnavailableError("The server is away.")
    work.idle.restart(HERE)
    await settle()
    assert len(work.read) == 1
    work.idle.restart(HERE)
    await settle()
    assert len(work.read) == 2
