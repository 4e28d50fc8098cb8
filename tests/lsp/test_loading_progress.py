"""The loading bar follows the protocol: created, begun, reported, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcMethodNotFound

from pellucid_lsp.loading_progress import LoadingBar


class Client:
    """A client with recorded messages; ``create`` waits for ``answer``, and may be refused."""

    def __init__(self, *, can_show: bool = True) -> None:
        self.client_capabilities = types.ClientCapabilities(
            window=types.WindowClientCapabilities(work_done_progress=can_show)
        )
        self.work_done_progress = self
        self.messages: list[tuple[str, str]] = []
        self.tokens: list[str] = []
        self.answer = asyncio.Event()
        self.refuses = False

    async def create_async(self, token: str) -> None:
        self.tokens.append(token)
        await self.answer.wait()
        if self.refuses:
            raise JsonRpcMethodNotFound("no bars here")

    def begin(self, token: str, value: types.WorkDoneProgressBegin) -> None:
        self._tell(token, f"begin {value.message} {value.percentage}")

    def report(self, token: str, value: types.WorkDoneProgressReport) -> None:
        self._tell(token, f"report {value.message} {value.percentage}")

    def end(self, token: str, value: types.WorkDoneProgressEnd) -> None:
        self._tell(token, value.kind)

    def bars(self) -> list[list[str]]:
        """Return each bar's messages, in the order of the requests."""
        return [[what for other, what in self.messages if other == token] for token in self.tokens]

    def _tell(self, token: str, what: str) -> None:
        self.messages.append((token, what))


async def settled() -> None:
    """Let all tasks run as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


def bar_of(client: Client) -> LoadingBar:
    return LoadingBar(cast("Any", client))


async def test_a_bar() -> None:
    """A bar begins, reports and ends, and the next message begins a new bar."""
    client = Client()
    client.answer.set()
    bar = bar_of(client)

    for message, percent in (("starting", None), ("loading", 10.4), ("loading", 20.6)):
        bar.show(message, percent)
        await settled()
    bar.hide()
    bar.show("loading again", 1)
    await settled()

    assert client.bars() == [
        ["begin starting None", "report loading 10", "report loading 21", "end"],
        ["begin loading again 1"],
    ]


@pytest.mark.parametrize("hides", [1, 2, 3])
async def test_hidden_before_the_client_has_answered(hides: int) -> None:
    """Hiding a bar before the client's answer, even repeatedly, ends only this bar."""
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


def test_a_client_that_refuses() -> None:
    """A client that refuses a bar gets no messages and no further requests."""
    client = Client()
    client.refuses = True
    client.answer.set()
    failed: list[dict[str, Any]] = []

    async def show_twice() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failed.append(what))
        bar = bar_of(client)
        for _ in range(2):
            bar.show("one", 1)
            await settled()
            bar.hide()

    asyncio.run(show_twice())  # A separate loop: the handler sees no tasks of other tests.
    assert (client.messages, len(client.tokens), failed) == ([], 1, [])


async def test_a_refusal_between_two_bars() -> None:
    """A bar requested before the refusal of an earlier bar begins and ends as usual."""
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
    """A client without support for bars gets no request for a bar."""
    client = Client(can_show=False)
    bar = bar_of(client)

    bar.show("one", 1)
    bar.hide()
    await settled()

    assert client.tokens == []
