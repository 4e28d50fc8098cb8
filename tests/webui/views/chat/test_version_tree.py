"""Tests the description of all versions of a conversation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from math import exp
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.client.assistant_protocol import shared
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.views.chat.chat_view import ChatView
from pellucid_webui.views.chat.version_tree import MAX_CHARACTERS, words
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant, token, tokens

SETTINGS = TurnSettings(model=MODEL, temperature=0.5)


@pytest.fixture
def view(tmp_path: Path) -> Iterator[ChatView]:
    store = ConversationStore(tmp_path / "conversations.db")
    yield ChatView(store, shared(ScriptedPageAssistant()), Turns())
    store.close()


async def act(view: ChatView, tab: TabState, verb: str, *answer: str, **event: Any) -> dict[str, Any]:
    """Run an action with the tokens of the answer, and return the last state of the tab."""
    assistant = view.assistant_for(tab.owner)
    assert isinstance(assistant, ScriptedPageAssistant)
    assistant.scripts = [tokens(*answer)]
    return [shown async for shown in view.act(tab, {"verb": verb, **event}, lambda: SETTINGS)][-1]


async def versions(view: ChatView, tab: TabState) -> dict[int, dict[str, Any]]:
    """Return the versions received by the page, by node."""
    shown = await act(view, tab, "versions")
    found = json.loads(shown["versions"])
    assert found["id"] == shown["id"]
    return {one["node"]: one for one in found["nodes"]}


async def test_how_each_came_to_be(view: ChatView) -> None:
    """Each version names the parent and the origin; a branch has both tokens."""
    tab = TabState("me")
    await act(view, tab, "send", " A", " b", text="Hello", messageId="1")
    await act(view, tab, "retry", " C", node=2)
    await act(view, tab, "branch", " d", node=2, index=1, alternative=1)
    await act(view, tab, "resume", " e", node=3)
    await act(view, tab, "edit", node=2, text="Mine")
    await act(view, tab, "edit", " F", node=1, text="Hi")
    found = await versions(view, tab)
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


async def test_an_answer_that_grows(view: ChatView) -> None:
    """A running answer is marked in the tree, and the tree can be opened meanwhile."""
    tab = TabState("me")
    assistant = view.assistant_for(tab.owner)
    assert isinstance(assistant, ScriptedPageAssistant)
    hold = asyncio.Event()
    assistant.scripts = [[token("A"), hold]]
    stream = view.act(tab, {"verb": "send", "text": "Hello", "messageId": "1"}, lambda: SETTINGS)
    async for shown in stream:
        if shown["live"] and shown["live"]["blocks"]:
            break
    async for shown in view.act(tab, {"verb": "versions"}, lambda: SETTINGS):
        found = json.loads(shown["versions"])["nodes"]
        break
    assert [one.get("live") for one in found] == [None, True]
    hold.set()
    await act(view, tab, "refresh")
    assert "live" not in (await versions(view, tab))[2]


async def test_without_a_conversation(view: ChatView) -> None:
    """An empty chat has no versions, and a change of conversation forgets the versions."""
    tab = TabState("me")
    shown = await act(view, tab, "versions")
    assert (shown["versions"], shown["notice"]["text"]) == (None, "There is no conversation yet: send a message first.")
    await act(view, tab, "send", "A", text="Hello", messageId="1")
    await versions(view, tab)
    tab.show_conversation(None)
    assert tab.versions is None


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
