"""Tests the description of all versions of a conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from math import exp
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.client.assistant_protocol import shared
from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.routes.chat import ChatRoute
from pellucid_webui.routes.version_tree import MAX_CHARACTERS, words
from support.page.route_tab import FollowedAnswer, RouteTab
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant, token, tokens
from support.scripted_answers import Item


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[RouteTab]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        route = ChatRoute(store, shared(ScriptedPageAssistant()), Turns())
        yield RouteTab(route, settings=TurnSettings(model=MODEL, temperature=0.5))


def answer_with(tab: RouteTab, *script: Item) -> None:
    assistant = tab.route.assistant_for(tab.owner)
    assert isinstance(assistant, ScriptedPageAssistant)
    assistant.scripts = [script]


async def versions(tab: RouteTab) -> dict[int, dict[str, Any]]:
    """Return the versions received by the page, by node."""
    found = await tab.act("versions")
    assert found["id"] == tab.conversation
    return {one["node"]: one for one in found["nodes"]}


async def test_how_each_came_to_be(tab: RouteTab) -> None:
    """Each version names the parent and the origin; a branch has both tokens."""

    async def act(verb: str, *answer: str, **more: Any) -> None:
        answer_with(tab, *tokens(*answer))
        await tab.act_and_wait(verb, **more)

    await act("send", " A", " b", text="Hello", messageId="1")
    await act("retry", " C", node=2)
    await act("branch", " d", node=2, index=1, alternative=1)
    await act("resume", " e", node=3)
    await act("edit", node=2, text="Mine")
    await act("edit", " F", node=1, text="Hi")
    found = await versions(tab)
    assert {node: (one["parent"], one["made"]) for node, one in found.items()} == {
        1: (None, "written"),
        2: (1, "answered"),
        3: (1, "regenerated"),
        4: (1, "branched"),
        5: (1, "continued"),
        6: (1, "edited"),
        7: (None, "edited"),
        8: (7, "answered"),
    }
    assert found[4]["branch"] == {
        "at": 1,
        "token": {"t": " other", "p": pytest.approx(exp(-2.5))},
        "replaced": {"t": " b", "p": pytest.approx(exp(-0.25))},
    }
    assert (found[1]["about"], found[2]["about"], found[6]["about"]) == ("", f"{MODEL}, temperature 0.5", "")
    assert found[1]["chosen"] == 6, "what was shown last below the first message"
    assert {node for node, one in found.items() if "branch" in one} == {4}


async def test_an_answer_that_grows(tab: RouteTab) -> None:
    """A running answer is marked in the tree, and the tree can be opened meanwhile."""
    hold = asyncio.Event()
    answer_with(tab, token("A"), hold)
    node = await tab.send()
    await FollowedAnswer().grow(tab.follow(node), until=1)
    assert [one.get("live") for one in (await versions(tab)).values()] == [None, True]
    hold.set()
    await tab.ended(node)
    assert "live" not in (await versions(tab))[node]


async def test_without_a_conversation(tab: RouteTab) -> None:
    """An empty chat has no versions."""
    with pytest.raises(InvalidRequestError, match="There is no conversation yet: send a message first"):
        await tab.act("versions")


@given(st.text(st.characters(exclude_characters="XY")), st.text(), st.text())
def test_words(start: str, one: str, other: str) -> None:
    """The words are a line from the text, with the first difference from the older version."""
    text = f"{start}X{one}"
    found = words(text, f"{start}Y{other}")
    assert "\n" not in found
    assert len(found) <= MAX_CHARACTERS + 1
    assert "X" in found
    assert found.removeprefix("…").removesuffix("…").strip() in " ".join(text.split())


def test_words_of_a_long_beginning() -> None:
    """Words begin shortly before the first difference; short texts are shown completely."""
    start = "It is a long beginning that all versions of this answer share, and "
    assert words(f"{start}then one\nends so.", f"{start}then the other.") == "…answer share, and then one ends so."
    assert words("Short one", "Short two") == "Short one"
    assert words(start, start) == words(start, f"{start}more") == start.strip()
