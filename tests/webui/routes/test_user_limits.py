"""Tests that the page's requests count for the user, and that the page shows a limit's reason."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pellucid.completion.settings import GateLevel
from pellucid.door.user_assistant import UserAssistant
from pellucid.door.users import CurrentRequest, UserLimits, Users, current_request
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.query import ChatQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.storage.blind_reviews import Reviews
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.routes.chat import ChatRoute
from pellucid_webui.routes.compare import CompareRoute
from pellucid_webui.routes.compare_batch import BatchRoute
from pellucid_webui.routes.infill import complete
from pellucid_webui.routes.read import ReadRoute
from support.page.route_tab import RouteTab
from support.page.scripted_assistant import ScriptedPageAssistant, tokens
from support.servers.http_servers import TINY, tiny_assistant

USED_UP = "anna has used 1 tokens within a minute, the limit of user_tokens_per_minute: try again in 61 seconds."
SETTINGS = TurnSettings(model=TINY, max_tokens=4, temperature=0)
COLUMN = {"model": TINY, "max_tokens": 4}
FORM = {"prompt": "u", "reference": "", "columns": [COLUMN, COLUMN | {"temperature": 1}, COLUMN | {"system": "s"}]}


@dataclass
class LimitedPage:
    """The server's side of Anna's page, with settable limits and a clock."""

    users: Users
    assistant_for: partial[UserAssistant]
    now: float = 1000.0

    def limit(self, requests: int | None = None, tokens_per_minute: int | None = None) -> None:
        self.users._limits = UserLimits(requests, tokens_per_minute)

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of admitted and of refused requests."""
        totals = self.users.totals("anna")
        return totals.requests, totals.refused

    @property
    def running(self) -> int:
        """The number of requests with a place."""
        return len(self.users.state("anna").places)


@pytest.fixture
async def limited() -> AsyncIterator[LimitedPage]:
    local, engine = tiny_assistant()
    pages: list[LimitedPage] = []
    users = Users(clock=lambda: pages[0].now)
    pages.append(LimitedPage(users, partial(UserAssistant, local, users)))
    yield pages[0]
    await asyncio.to_thread(engine.close)


async def test_chat(limited: LimitedPage, tmp_path: Path) -> None:
    """An answer is a request of the tab's owner; a refused answer can be retried later."""
    limited.limit(requests=1, tokens_per_minute=1)
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        tab = RouteTab(ChatRoute(store, limited.assistant_for, Turns()), "anna", settings=SETTINGS)
        await tab.send_and_wait("One")
        assert (limited.counts, limited.running) == ((1, 0), 0)
        messages = (await tab.send_and_wait("Two"))["messages"]
        assert [(one["role"], one["error"]) for one in messages] == [
            ("user", None),
            ("assistant", None),
            ("user", None),
            ("assistant", USED_UP),
        ]
        assert (messages[2]["text"], messages[3]["text"], limited.counts) == ("Two", "", (1, 1))
        await RouteTab(tab.route, "ben", settings=SETTINGS).send_and_wait("Three")
        assert limited.users.totals("ben").requests == 1
        limited.now += 61
        retried = await tab.act_and_wait("retry", node=messages[3]["node"])
        assert retried["messages"][3]["error"] is None


class Waiting(ScriptedPageAssistant):
    """Counts for the user of a request, like a local assistant."""

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        return self._counted(current_request(), query)

    async def _counted(self, request: CurrentRequest, query: ChatQuery) -> AsyncGenerator[Token | Finish]:
        request.begin()
        async for item in super().chat(query):
            yield item


async def test_an_answer_whose_tab_was_closed(tmp_path: Path) -> None:
    """An answer keeps the place until the end, even with the tab closed."""
    users, turns, go_on = Users(UserLimits(requests=1)), Turns(), asyncio.Event()
    assistant = Waiting([[go_on, *tokens("yes")]])
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        closed = RouteTab(ChatRoute(store, partial(UserAssistant, assistant, users), turns), "anna")
        stream = closed.follow(await closed.send("One"))
        await anext(stream)
        await stream.aclose()
        tab = RouteTab(closed.route, "anna")
        assert (await tab.send_and_wait("Two"))["messages"][1][
            "error"
        ] == "anna already has 1 requests that run or wait, the limit of user_requests: wait until one has ended."
        go_on.set()
        await turns.wait_until_idle()
        assert (await tab.send_and_wait("Three"))["messages"][3]["text"] == "yes"


async def test_tokens_of_a_message(limited: LimitedPage, tmp_path: Path) -> None:
    """Reading a message for its tokens is a request of the tab's owner."""
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        tab = RouteTab(ChatRoute(store, limited.assistant_for, Turns()), "anna", settings=SETTINGS)
        message = (await tab.send_and_wait("One"))["messages"][0]
        assert (await tab.act("tokens", node=message["node"]))["tokens"]
    assert (limited.counts, limited.users.totals("anna").generated) == ((2, 0), 4)


async def test_read(limited: LimitedPage) -> None:
    """A reading is a single request, even of both sides of a diff, and a refusal has the reason."""

    async def status(text: str) -> str:
        asked = {"verb": "read", "tab": "1", "text": text, "model": TINY}
        return str([shown async for shown in ReadRoute(limited.assistant_for).act("anna", asked)][-1]["status"])

    limited.limit(requests=1, tokens_per_minute=1)
    assert await status("--- a/f\n+++ b/f\n@@ -1 +1 @@\n-one\n+two\n@@ -9 +9 @@\n-three\n+four\n") == ""
    assert (limited.counts, limited.running) == ((1, 0), 0)
    assert await status("abc") == USED_UP
    assert limited.counts == (1, 1)


async def test_infill(limited: LimitedPage) -> None:
    """A suggestion is a single request; a refusal has the reason, and the text stays."""
    limited.limit(requests=1, tokens_per_minute=1)
    await complete(limited.assistant_for("anna"), "x = ", "\n", "python", GateLevel.EAGER, TINY)
    assert (limited.counts, limited.running) == ((1, 0), 0)
    shown = await complete(limited.assistant_for("anna"), "y = ", "\n", "python", GateLevel.EAGER, TINY)
    assert (shown["status"], shown["wrong"], shown["before"], shown["after"]) == (USED_UP, True, "y = ", "\n")
    assert limited.counts == (1, 1)


async def test_compare(limited: LimitedPage) -> None:
    """A comparison is a single request, and each refused column has the reason."""

    async def compare() -> list[str]:
        asked = {"verb": "compare", "tab": "1", "form": FORM}
        shown = [shown async for shown in CompareRoute(limited.assistant_for).act("anna", asked)][-1]
        return [column["note"] for column in shown["columns"] if column["wrong"]]

    limited.limit(requests=1, tokens_per_minute=1)
    await compare()
    assert (limited.counts, limited.running) == ((1, 0), 0)
    assert await compare() == [USED_UP] * 3
    assert limited.counts == (1, 1)


async def batch(view: BatchRoute, **asked: Any) -> dict[str, Any]:
    """Run an action of a batch, and return the last payload."""
    return [shown async for shown in view.act("anna", {"tab": "1", **asked})][-1]


async def test_batch(limited: LimitedPage) -> None:
    """Each row of a batch is a request, and the limit bounds the rows that run at once."""
    limited.limit(requests=1)
    view = BatchRoute(limited.assistant_for, Reviews(Path(os.devnull)))
    prompts = b64encode(b"one\ntwo\nthree\nfour\nfive").decode()
    await batch(view, verb="choose", file={"name": "p.txt", "data": prompts})
    shown = await batch(view, verb="start", form=FORM, file="p.txt")
    assert (shown["status"], shown["left"], limited.counts[0], limited.running) == ("", 0, 5, 0)


async def test_a_batch_that_is_refused(limited: LimitedPage) -> None:
    """A refused batch stops with the reason, and the rest can be run later."""
    limited.limit(tokens_per_minute=1)
    view = BatchRoute(limited.assistant_for, Reviews(Path(os.devnull)))
    prompts = b64encode(b"one\ntwo\nthree\nfour\nfive\nsix").decode()
    await batch(view, verb="choose", file={"name": "p.txt", "data": prompts})
    shown = await batch(view, verb="start", form=FORM, file="p.txt")
    assert (shown["status"], shown["wrong"], shown["running"], shown["left"] > 0) == (USED_UP, True, False, True)
    while shown["left"]:
        limited.now += 61
        before, shown = shown["left"], await batch(view, verb="resume")
        assert shown["left"] < before
    assert (shown["status"], limited.counts[0]) == ("", 6)
