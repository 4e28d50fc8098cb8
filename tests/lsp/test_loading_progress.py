"""The loading bar is drawn as clients ask for it: created, begun, moved on, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcMethodNotFound

from pellucid_lsp.loading_progress import LoadingBar


class Client:
    """What a client is told of progress; it answers ``create`` once ``answer`` is set, by a refusal if it ``refuses``."""

    def __init__(self, *, can_show: bool = True) -> None:
        self.client_capabilities = types.ClientCapabilities(window=types.WindowClientCapabilities(work_done_progress=can_show))
        self.work_done_progress = self
        self.told: list[tuple[str, str]] = []
        self.tokens: list[str] = []
        self.answer = asyncio.Event()
        self.refuses = False

    async def create_async(self, token: str) -> None:
        """Ask for a bar."""
        self.tokens.append(token)
        await self.answer.wait()
        if self.refuses:
            raise JsonRpcMethodNotFound("no bars here")

    def begin(self, token: str, value: types.WorkDoneProgressBegin) -> None:
        """The first that a bar shows."""
        self._tell(token, f"begin {value.message} {value.percentage}")

    def report(self, token: str, value: types.WorkDoneProgressReport) -> None:
        """What it shows later."""
        self._tell(token, f"report {value.message} {value.percentage}")

    def end(self, token: str, value: types.WorkDoneProgressEnd) -> None:
        """It goes away."""
        self._tell(token, value.kind)

    def bars(self) -> list[list[str]]:
        """What each bar was told, in the order in which they were asked for."""
        return [[what for other, what in self.told if other == token] for token in self.tokens]

    def _tell(self, token: str, what: str) -> None:
        self.told.append((token, what))


async def settled() -> None:
    """Let all tasks go as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


def bar_of(client: Client) -> LoadingBar:
    return LoadingBar(cast("Any", client))


async def test_a_bar() -> None:
    """It begins, moves on and ends; what is shown after that is another bar."""
    client = Client()
    client.answer.set()
    bar = bar_of(client)

    for message, percent in (("starting", None), ("loading", 10.4), ("loading", 20.6)):
        bar.show(message, percent)
        await settled()
    bar.hide()
    bar.show("loading again", 1)
    await settled()

    assert client.bars() == [["begin starting None", "report loading 10", "report loading 21", "end"], ["begin loading again 1"]]


@pytest.mark.parametrize("hides", [1, 2, 3])
async def test_hidden_before_the_client_has_answered(hides: int) -> None:
    """However often it is hidden while the client has yet to answer, that bar alone ends, and the next one begins first."""
    client = Client()
    bar = bar_of(client)

    bar.show("one", 1)
    await settled()
    for _ in range(hides):
        bar.hide()
    bar.show("two", 2)
    await settled()
    client.answer.set()
    await settled()
    bar.show("two", 50)
    await settled()

    assert client.bars() == [["begin one 1", "end"], ["begin two 2", "report two 50"]]


async def test_a_client_that_refuses() -> None:
    """A client that refuses a bar is told nothing of it, and is not asked again."""
    client = Client()
    client.refuses = True
    client.answer.set()
    bar = bar_of(client)
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: failed.append(what))

    for _ in range(2):
        bar.show("one", 1)
        await settled()
        bar.hide()

    assert (client.told, len(client.tokens), failed) == ([], 1, [])


async def test_a_refusal_between_two_bars() -> None:
    """A bar that was asked for before another one was refused ends like any other."""
    client = Client()
    bar = bar_of(client)
    answers: list[Callable[[], None]] = []

    async def create(token: str) -> None:
        client.tokens.append(token)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refused = JsonRpcMethodNotFound("no bars here")
        answers.append((lambda: answer.set_result(None)) if answers else (lambda: answer.set_exception(refused)))
        await answer

    client.create_async = create  # type: ignore[method-assign]
    bar.show("one", 1)
    bar.hide()
    bar.show("two", 2)
    await settled()
    for answer in answers:
        answer()
    await settled()
    bar.hide()
    await settled()

    assert client.bars() == [[], ["begin two 2", "end"]]


async def test_a_client_without_bars() -> None:
    """A client that shows none is not asked for one."""
    client = Client(can_show=False)
    bar = bar_of(client)

    bar.show("one", 1)
    bar.hide()
    await settled()

    assert client.tokens == []
