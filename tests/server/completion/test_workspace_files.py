"""Tests of the shared thread that finds workspace files, and ends when no caller waits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from pellucid.completion.context.search_budget import SearchBudget
from pellucid.completion.context.workspace_files import SharedThread, WorkspaceFiles
from pellucid.completion.settings import ContextSettings
from pellucid.completion.suggestion import DocumentCursor

ORDERS = "class OrderBook:\n    def add_order(self, order, price_limit):\n        self.open_orders.append(order)\n"


class Endless:
    """Work that continues as long as permitted."""

    def __init__(self) -> None:
        self.begun = 0
        self.running, self.ended = Event(), Event()

    def __call__(self, may_continue: Callable[[], bool]) -> None:
        self.begun += 1
        self.ended.clear()
        self.running.set()
        while may_continue():
            pass
        self.ended.set()


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_thread_for_all_who_wait() -> None:
    """A second request shares the first's work, and the work ends when both are cancelled."""
    work, shared = Endless(), SharedThread()
    first, second = (asyncio.create_task(shared.wait(work)) for _ in range(2))
    await asyncio.to_thread(work.running.wait)
    await cancel(first)
    assert not await asyncio.to_thread(work.ended.wait, 0.05)
    await cancel(second)
    assert await asyncio.to_thread(work.ended.wait, 60)
    assert work.begun == 1

    work.running.clear()
    third = asyncio.create_task(shared.wait(work))
    await asyncio.to_thread(work.running.wait)
    assert work.begun == 2
    await cancel(third)
    assert await asyncio.to_thread(work.ended.wait, 60)


async def test_a_cancelled_request_stops_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No further folder is read when the request that began a walk is cancelled."""
    for number in range(50):
        (tmp_path / f"{number:02}").mkdir()
        (tmp_path / f"{number:02}" / "orders.py").write_text(ORDERS)
    read: list[str] = []
    reached, go_on = Event(), Event()
    scandir = os.scandir

    def slow(folder: str) -> object:
        read.append(folder)
        if len(read) == 5:
            reached.set()
            go_on.wait()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", slow)
    files = WorkspaceFiles([tmp_path], ContextSettings())
    request = asyncio.create_task(files.finder({}))
    await asyncio.to_thread(reached.wait)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go_on.set()
    find = await files.finder({})  # The next request looks for all files.
    assert len(read) == 5 + 51
    budget = SearchBudget(60.0)
    assert len(list(find({"OrderBook"}, budget))) == 50
    assert str(budget) == "50 of 50 files"
    files.close()


async def test_a_search_does_not_wait_for_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for a name neither checks files without the name nor indexes files."""
    for number in range(200):
        (tmp_path / f"other{number}.py").write_text(f"number = {number}\n")
    (tmp_path / "orders.py").write_text(ORDERS)
    checked: list[str] = []
    refusal = WorkspaceFiles._privacy

    def counting(self: WorkspaceFiles) -> object:
        privacy = refusal(self)
        asked = privacy.refusal

        def note(path: str | None, text: str, uri: str = "") -> str | None:
            checked.append(uri)
            return asked(path, text, uri)

        monkeypatch.setattr(privacy, "refusal", note)
        return privacy

    monkeypatch.setattr(WorkspaceFiles, "_privacy", counting)
    files = WorkspaceFiles([tmp_path], ContextSettings())
    find = await files.finder({})
    assert [Path(uri).name for uri, _ in find({"OrderBook"}, SearchBudget(60.0))] == ["orders.py"]
    assert len(checked) == 1
    cursor = DocumentCursor((tmp_path / "new.py").as_uri(), "book = OrderBook()\nbook.add_order(", "", "python")
    assert [piece.path.name for piece in await files.related(cursor)] == ["orders.py"]
    assert len(checked) > 200
    files.close()
