"""Tests the server's state of a tab."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.errors import ContextLengthError, InvalidRequestError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.conversations.conversation import Conversation
from pellucid_webui.conversations.markdown import highlighting
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import TICK_SECONDS, Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.views.chat.chat_display_json import payload
from pellucid_webui.views.chat.chat_view import FULL_PACE_TABS, ChatView, pause
from support.page.scripted_assistant import ScriptedPageAssistant, token, tokens
from support.scripted_answers import Item, usage

LONG_SECONDS = 60.0
"""Reached only if a test fails."""


@dataclass
class ShyAssistant(ScriptedPageAssistant):
    """Has no model until the second request."""

    met: int = 0

    async def cards(self) -> list[ModelCard]:
        self.met += 1
        if self.met == 1:
            raise UnavailableError("No model is there yet.")
        return await super().cards()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    found = ConversationStore(tmp_path / "conversations.db")
    yield found
    found.close()


def broken() -> TurnSettings:
    """Raise like controls with invalid settings."""
    raise InvalidRequestError("Top-p is empty: enter a number.")


def opened(store: ConversationStore, *scripts: Sequence[Item]) -> tuple[ChatView, TabState]:
    """Return a view with scripted answers, and a tab."""
    return ChatView(store, shared(ScriptedPageAssistant(list(scripts))), Turns()), TabState("me")


async def payloads(view: ChatView, tab: TabState, **event: Any) -> list[dict[str, Any]]:
    return [shown async for shown in view.act(tab, event, TurnSettings)]


async def first(shown: AsyncIterator[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async for one in shown:
        if wanted(one):
            return one
    raise AssertionError("no picture is like this")


async def test_forgotten(store: ConversationStore) -> None:
    """A tab with dropped state reloads, and the action is not run."""
    view = ChatView(store, shared(ScriptedPageAssistant([tokens("yes")])), Turns())
    shown = await payloads(view, TabState(), verb="send", text="Hello", messageId="a")
    assert [one["stale"] for one in shown] == [True]
    assert store.list("") == []
    assert not (await payloads(view, TabState("me"), verb="send", text="Hello", messageId="a"))[-1]["stale"]


async def test_refused_message(store: ConversationStore) -> None:
    """A refused message leaves no conversation and can be sent again, and only once."""
    view = ChatView(store, shared(ShyAssistant([tokens("yes")])), Turns())
    tab = TabState("me")
    message = {"verb": "send", "text": "Hello", "messageId": "a"}
    assert (await payloads(view, tab, **message))[-1]["notice"]["text"] == "No model is there yet."
    assert store.list("me") == []
    for _ in range(2):
        assert len((await payloads(view, tab, **message))[-1]["messages"]) == 2
    assert len(store.list("me")) == 1


async def test_what_is_on_the_screen(store: ConversationStore) -> None:
    """An action runs in the conversation shown by the tab, even if the server's record differs."""
    view, tab = opened(store, tokens("yes"))
    await payloads(view, tab, verb="send", text="Hello", messageId="a")
    first = tab.conversation
    tab.show_conversation(None)
    shown = await payloads(view, tab, verb="send", text="And now", messageId="b", conversation=first)
    assert shown[-1]["id"] == first
    assert len(shown[-1]["messages"]) == 4


async def test_sent_from_a_new_chat(store: ConversationStore) -> None:
    """A message sent from a new chat starts a conversation, even during an opening."""
    view = ChatView(store, shared(ScriptedPageAssistant([tokens("yes")] * 2)), Turns())
    tab = TabState("me")
    await payloads(view, tab, verb="send", text="Hello", messageId="a")
    opening = tab.conversation
    shown = await payloads(view, tab, verb="send", text="Another matter", messageId="b", conversation=None)
    assert shown[-1]["id"] not in (None, opening)
    assert len(shown[-1]["messages"]) == 2
    assert len(store.conversation("me", str(opening)).nodes) == 2


async def test_controls_that_say_nothing(store: ConversationStore) -> None:
    """Only actions that start an answer report invalid settings, and save nothing then."""
    view, tab = opened(store, tokens("yes"))
    node = list(
        store.conversation(
            "me", str((await payloads(view, tab, verb="send", text="Hello", messageId="a"))[-1]["id"])
        ).nodes
    )[1]

    async def reported(verb: str, **more: Any) -> str:
        shown = [one async for one in view.act(tab, {"verb": verb, **more}, broken)][-1]
        return str(shown["notice"]["text"])

    assert [
        await reported(verb, node=node) for verb in ("refresh", "toggleTokens", "selectVersion", "stop", "undo")
    ] == [""] * 5
    assert (
        await reported("send", text="x", messageId="b")
        == await reported("retry", node=node)
        == "Top-p is empty: enter a number."
    )
    assert len(store.conversation("me", str(tab.conversation)).nodes) == 2


async def test_unknown_action(store: ConversationStore) -> None:
    """An unknown or incomplete action is refused in the tab with a sentence."""
    view, tab = opened(store, tokens("yes"))
    await payloads(view, tab, verb="send", text="Hello", messageId="a")
    assert (await payloads(view, tab, verb="fly"))[-1]["notice"][
        "text"
    ] == "The chat has no action 'fly': reload the page."
    assert (await payloads(view, tab, verb="selectVersion", node="1"))[-1]["notice"][
        "text"
    ] == "The page sent no valid node: reload it."


async def test_another_conversation_opened_meanwhile(store: ConversationStore) -> None:
    """A message reaches the original conversation after a change of conversation."""
    view, tab = opened(store, tokens("yes"))
    other = store.create("me", TurnSettings(system="other"))
    sent = asyncio.create_task(payloads(view, tab, verb="send", text="Hello", messageId="a"))
    while not store.list("me")[:-1]:
        await asyncio.sleep(0)
    tab.show_conversation(other)
    await sent
    await view.turns.wait_until_idle()
    shown = [one async for one in view.follow(tab)][-1]
    assert (shown["id"], shown["messages"]) == (other, [])
    assert shown["delivered"] == {
        "id": "a",
        "conversation": next(one.id for one in store.list("me") if one.id != other),
    }
    assert store.conversation("me", other).settings.system == "other"


async def test_two_streams(store: ConversationStore) -> None:
    """Only the latest handler streams to a tab: an earlier handler ends with the current state."""
    view, tab = opened(store, [*tokens("yes"), None])
    before = view.act(tab, {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
    await first(before, lambda shown: shown["live"] is not None)
    after = view.act(tab, {"verb": "refresh"}, TurnSettings)
    assert (await anext(after))["live"] is not None
    assert [shown["live"] is not None async for shown in before] == [True]
    await view.turns.aclose()
    assert [shown["live"] for shown in [one async for one in after]][-1] is None


async def test_too_long_while_another_stream_begins(store: ConversationStore) -> None:
    """A message that is too long is reported in the stream that replaced the first."""
    refused = asyncio.Event()
    view, tab = opened(store, [refused, ContextLengthError(90, 64)])
    before = view.act(tab, {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
    await first(before, lambda shown: shown["live"] is not None)
    refused.set()
    await view.turns.wait_until_idle()
    after = (await payloads(view, tab, verb="refresh"))[-1]
    assert [shown | {"order": 0} async for shown in before] == [after | {"order": 0}]
    assert after["context"]["notice"]["text"].startswith(
        "Your message and the system prompt are 90 tokens long, and scripted can read 64"
    )


class StoreReadSlowly(ConversationStore):
    """Runs ``meanwhile`` once after reading a conversation."""

    meanwhile: Callable[[], None] | None = None

    def conversation(self, owner: str, id: str) -> Conversation:
        found = super().conversation(owner, id)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


async def test_ended_while_the_conversation_is_read(tmp_path: Path) -> None:
    """An answer that ends while the conversation is read is shown as ended."""
    with closing(StoreReadSlowly(tmp_path / "conversations.db")) as store:
        last = asyncio.Event()
        view = ChatView(store, shared(ScriptedPageAssistant([[*tokens("yes"), last, *tokens("!")]])), Turns())
        tab, loop = TabState("me"), asyncio.get_running_loop()
        sent = view.act(tab, {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
        await first(sent, lambda shown: shown["live"] is not None)

        async def end() -> None:
            last.set()
            await view.turns.wait_until_idle()

        store.meanwhile = lambda: asyncio.run_coroutine_threadsafe(end(), loop).result()
        shown = [one async for one in view.follow(tab)][-1]
        message = json.loads(shown["messages"][-1])
        assert (shown["live"], message["text"], message["end"]) == (None, "yes!", "stop")


async def test_the_event_loop_goes_on_during_highlighting(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop runs while the code of an answer is highlighted."""
    waiting: list[threading.Event] = []
    asked: list[str] = []

    def ask(text: str, language: str) -> str:
        waiting.append(threading.Event())
        asked.append(text)
        assert waiting[-1].wait(LONG_SECONDS), "the event loop is blocked"
        return text

    monkeypatch.setattr(highlighting, "_ask", ask)
    go_on = asyncio.Event()
    script: list[Any] = [*tokens("```java\n", "class A {}\n"), go_on, *tokens("class B {}\n", "```")]
    view = ChatView(store, shared(ScriptedPageAssistant([script])), Turns())
    shown = asyncio.create_task(payloads(view, TabState("me"), verb="send", text="Hello", messageId="a"))
    while not shown.done():
        await asyncio.sleep(0.01)
        for highlighted in waiting:
            highlighted.set()
            go_on.set()
    assert len((await shown)[-1]["messages"]) == 2
    assert (asked[0], asked[-1]) == ("class A {}\n", "class A {}\nclass B {}\n")


async def test_finished_messages_are_drawn_once(store: ConversationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """During an answer only the growing part is rebuilt, and all only at start and end."""
    drawn: list[bool] = []

    def counted(*given: Any) -> dict[str, Any]:
        drawn.append(True)
        return payload(*given)

    monkeypatch.setattr("pellucid_webui.views.chat.chat_view.payload", counted)
    steps = [asyncio.Event() for _ in range(5)]
    script: list[Item] = [item for step in steps for item in (token("more "), step)]
    view = ChatView(store, shared(ScriptedPageAssistant([script])), Turns())
    act = view.act(TabState("me"), {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
    for number, step in enumerate(steps, 1):
        await first(act, lambda shown, text=number: str(shown["live"]["blocks"]).count("more") == text)  # type: ignore[misc]
        step.set()
    assert len([shown async for shown in act]) >= 1
    assert len(drawn) == 2


async def test_many_tabs_share_the_pace_of_their_user(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's tabs share an update rate, without effect on other users' tabs."""
    counted: list[int] = []

    def noted(following: int) -> float:
        counted.append(following)
        return 0.0

    monkeypatch.setattr("pellucid_webui.views.chat.chat_view.pause", noted)
    step = asyncio.Event()
    view, tab = opened(store, [token("one "), step, token("two ")])
    act = view.act(tab, {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
    await first(act, lambda shown: shown["live"] is not None)
    tabs = [view.follow(TabState("me", tab.conversation)) for _ in range(5)]
    hers = view.act(TabState("you"), {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
    for shown in (*tabs, hers):
        # The second payload has the running answer.
        for _ in range(2):
            await anext(shown)
    counted.clear()
    step.set()
    for shown in (act, *tabs, hers):
        async for _ in shown:
            pass
    assert set(counted) == {1, 2, 3, 4, 5, 6}
    assert view.following == {}


def test_pause() -> None:
    """A few tabs do not wait; with more tabs the total rate of updates is constant."""
    assert [pause(tabs) for tabs in (1, FULL_PACE_TABS)] == [0.0, 0.0]
    for tabs in (FULL_PACE_TABS + 1, 2 * FULL_PACE_TABS, 8 * FULL_PACE_TABS):
        assert tabs / pause(tabs) == pytest.approx(FULL_PACE_TABS / TICK_SECONDS)


async def test_stopped_while_its_tokens_are_open(store: ConversationStore) -> None:
    """An open answer stopped by a different request shows all tokens."""
    go_on = asyncio.Event()
    view = ChatView(
        store,
        shared(ScriptedPageAssistant([[*tokens("one ", "two "), go_on, *tokens("three ", "four "), asyncio.Event()]])),
        Turns(),
    )
    tab = TabState("me")
    sent = view.act(tab, {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
    shown = await first(sent, lambda shown: "two" in str(shown["live"]["blocks"]))
    node = json.loads(shown["live"]["message"])["node"]
    toggled = view.act(tab, {"verb": "toggleTokens", "node": node}, TurnSettings)
    await first(toggled, lambda shown: len(unpack(shown["live"]["tokens"])) == 2)
    go_on.set()
    await first(toggled, lambda shown: len(unpack(shown["live"]["tokens"])) == 4)
    # This also ends the payloads of "toggleTokens".
    shown = (await payloads(view, tab, verb="stop", node=node))[-1]
    assert [token.text for token in unpack(json.loads(shown["messages"][-1])["tokens"])] == [
        "one ",
        "two ",
        "three ",
        "four ",
    ]


@dataclass
class Reader(ScriptedPageAssistant):
    """Scores nothing, and ends with ``end``."""

    end: Finish = field(default_factory=lambda: Finish(FinishReason.ERROR, usage(0), error="The reading failed."))
    read: int = 0

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        self.read += 1
        yield self.end


class TestTokensOfAMessage:
    @pytest.mark.parametrize(
        ("end", "reported"),
        [
            (Finish(FinishReason.ERROR, usage(0), error="The reading failed."), "The reading failed."),
            (Finish(FinishReason.DEADLINE, usage(0)), "Scoring this message was interrupted: open its tokens again."),
            (
                Finish(FinishReason.STOP, usage(0)),
                "The model's chat template changes this message, so its tokens cannot be shown.",
            ),
        ],
    )
    async def test_not_read(self, store: ConversationStore, end: Finish, reported: str) -> None:
        """A message that cannot be scored stays unchanged, and the tab shows the reason."""
        view = ChatView(store, shared(Reader([tokens("yes")], end=end)), Turns())
        tab = TabState("me")
        await payloads(view, tab, verb="send", text="Hello", messageId="a")
        node = next(iter(store.conversation("me", str(tab.conversation)).nodes))
        shown = (await payloads(view, tab, verb="toggleTokens", node=node))[-1]
        assert shown["notice"]["text"] == reported
        assert tab.tokens == {}

    async def test_of_an_answer_that_has_none_yet(self, store: ConversationStore) -> None:
        """A running answer opens at once with the generated tokens, without scoring."""
        begin = asyncio.Event()
        assistant = Reader([[begin, *tokens("yes")]])
        view = ChatView(store, shared(assistant), Turns())
        tab = TabState("me")
        act = view.act(tab, {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
        await anext(act)
        node = list(store.conversation("me", str(tab.conversation)).nodes)[1]
        toggled = view.act(tab, {"verb": "toggleTokens", "node": node}, TurnSettings)
        assert (await anext(toggled))["live"]["tokens"] == []
        begin.set()
        await first(toggled, lambda shown: shown["live"] is None and len(tab.tokens[node]) == 1)
        assert assistant.read == 0


async def test_nothing_to_add(store: ConversationStore) -> None:
    """A continued version without new text is marked, and keeps the open tokens."""
    view = ChatView(
        store, shared(ScriptedPageAssistant([tokens("yes"), [Finish(FinishReason.STOP, usage(0))]])), Turns()
    )
    tab = TabState("me")
    node = list(
        store.conversation("me", (await payloads(view, tab, verb="send", text="Hi", messageId="a"))[-1]["id"]).nodes
    )[1]
    await payloads(view, tab, verb="toggleTokens", node=node)
    shown = (await payloads(view, tab, verb="resume", node=node))[-1]
    answer = json.loads(shown["messages"][-1])
    assert (answer["idle"], answer["asTokens"], answer["text"], len(answer["versions"])) == (True, True, "yes", 2)


async def test_undone(store: ConversationStore) -> None:
    """An undone message can be selected again."""
    view, tab = opened(store, tokens("yes"))
    assert (await payloads(view, tab, verb="send", text="Hi", messageId="a"))[-1]["redo"] is None
    undone = (await payloads(view, tab, verb="undo"))[-1]
    assert undone["messages"] == []
    assert len((await payloads(view, tab, verb="selectVersion", node=undone["redo"]))[-1]["messages"]) == 2


async def test_deleted_elsewhere(store: ConversationStore) -> None:
    """After a deletion in a different tab, a tab shows a notice and no conversation."""
    view = ChatView(store, shared(ScriptedPageAssistant([[*tokens("yes"), None]])), Turns())
    tab, other = TabState("me"), TabState("me")
    act = view.act(tab, {"verb": "send", "text": "Hello", "messageId": "a"}, TurnSettings)
    id = str((await first(act, lambda shown: shown["live"] is not None))["id"])
    await view.actions(other).delete(id)
    for shown in ([one async for one in act][-1], (await payloads(view, tab, verb="refresh", conversation=id))[-1]):
        assert (shown["id"], shown["messages"], shown["live"]) == (None, [], None)
        assert shown["notice"]["text"].startswith("This conversation was deleted: you can restore it")
