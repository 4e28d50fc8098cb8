"""Tests the chat's actions, the state of a conversation, and the stream of an answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.errors import ContextLengthError, InvalidRequestError, NotFoundError, PellucidError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.chat_actions import ChatActions
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.conversations.conversation import ASSISTANT, USER, Conversation
from pellucid_webui.conversations.markdown import highlighting
from pellucid_webui.conversations.markdown.markdown_to_html import blocks
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import TICK_SECONDS, Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.routes.chat import ACTIONS, FULL_PACE_TABS, ChatRoute, pause
from pellucid_webui.routes.conversation_display import RenderedMessages, state_of
from support.page.route_tab import FollowedAnswer, RouteTab, shown
from support.page.scripted_assistant import ScriptedPageAssistant, token, tokens
from support.scripted_answers import Item, usage

LONG_SECONDS = 60.0
"""Reached only if a test fails."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as found:
        yield found


def route_with(store: ConversationStore, *scripts: Sequence[Item]) -> ChatRoute:
    return ChatRoute(store, shared(ScriptedPageAssistant(list(scripts))), Turns())


def tab_with(store: ConversationStore, *scripts: Sequence[Item]) -> RouteTab:
    """Return a tab of a route with scripted answers."""
    return RouteTab(route_with(store, *scripts))


def texts(batches: Sequence[str]) -> list[str]:
    return [token.text for token in unpack(batches)]


class TestSending:
    async def test_a_refused_message(self, store: ConversationStore) -> None:
        """A refused message leaves no conversation, and can be sent again."""

        @dataclass
        class ShyAssistant(ScriptedPageAssistant):
            """Has no model until the second request."""

            met: int = 0

            async def cards(self) -> list[ModelCard]:
                self.met += 1
                if self.met == 1:
                    raise UnavailableError("No model is there yet.")
                return await super().cards()

        tab = RouteTab(ChatRoute(store, shared(ShyAssistant([tokens("yes")])), Turns()))
        with pytest.raises(UnavailableError, match="No model is there yet"):
            await tab.send(messageId="a")
        assert store.list("me") == []
        assert len((await tab.send_and_wait(messageId="a"))["messages"]) == 2

    async def test_a_message_without_an_id(self, store: ConversationStore) -> None:
        """A message without an id is refused: a repetition could not be recognised."""
        tab = tab_with(store, tokens("yes"))
        with pytest.raises(InvalidRequestError, match="a message without an id"):
            await tab.act("send", text="Hello")
        assert store.list("me") == []

    async def test_a_message_that_arrives_twice(self, store: ConversationStore) -> None:
        """A message that arrives twice, even at the same time, is added once for each user."""
        route = route_with(store, tokens("yes"))
        first, second, hers = RouteTab(route), RouteTab(route), RouteTab(route, "you")
        one, other, her = await asyncio.gather(*(tab.send(messageId="a") for tab in (first, second, hers)))
        assert (one, first.conversation) == (other, second.conversation) != (her, hers.conversation)
        shown = await first.ended(one)
        assert (len(shown["messages"]), await second.send_and_wait(messageId="a")) == (2, shown)
        assert [len(store.list(owner)) for owner in ("me", "you")] == [1, 1]

    async def test_a_lost_response(self, store: ConversationStore) -> None:
        """A message whose request was cancelled is added, and added once if sent again."""
        listing, go_on = asyncio.Event(), asyncio.Event()

        class SlowAssistant(ScriptedPageAssistant):
            async def cards(self) -> list[ModelCard]:
                listing.set()
                await go_on.wait()
                return await super().cards()

        tab = RouteTab(ChatRoute(store, shared(SlowAssistant([tokens("yes")])), Turns()))
        sending = asyncio.create_task(tab.send(messageId="a"))
        await listing.wait()
        sending.cancel()
        await asyncio.wait([sending])
        go_on.set()
        (sent,) = tab.route._sent.values()
        node = (await sent)["node"]
        assert await tab.send(messageId="a") == node
        assert (len((await tab.ended(node))["messages"]), len(store.list("me"))) == (2, 1)

    async def test_where_a_message_goes(self, store: ConversationStore) -> None:
        """A message continues the tab's conversation, or begins a conversation in a new chat."""
        tab = tab_with(store, tokens("yes"))
        first = (await tab.send_and_wait())["id"]
        shown = await tab.send_and_wait("And now")
        assert (shown["id"], len(shown["messages"])) == (first, 4)
        shown = await RouteTab(tab.route).send_and_wait("Another matter")
        assert shown["id"] != first
        assert len(shown["messages"]) == 2


class TestRefusals:
    async def test_invalid_settings(self, store: ConversationStore) -> None:
        """Only actions that need the settings refuse invalid settings, and then change nothing."""
        tab = tab_with(store, tokens("yes"))
        node = await tab.send()
        await tab.ended(node)
        before = store.archive("me", str(tab.conversation))
        invalid = shown(TurnSettings()) | {"top_p": None}
        more = {"node": node, "text": "x", "index": 0, "alternative": 1, "messageId": "b", "settings": invalid}
        for verb in ("send", "retry", "resume", "branch", "fork", "edit", "settings"):
            with pytest.raises(InvalidRequestError, match="Top-p is empty: enter a number"):
                await tab.act(verb, **more)
            assert store.archive("me", str(tab.conversation)) == before
        for verb in ("show", "stop", "tokens", "inspect", "versions", "selectVersion", "undo"):
            await tab.act(verb, **more)

    @pytest.mark.parametrize(
        ("verb", "more", "reported"),
        [
            ("fly", {}, "The chat has no action 'fly': reload the page."),
            ("selectVersion", {"node": "1"}, "The page sent no valid node: reload it."),
            ("selectVersion", {"node": True}, "The page sent no valid node: reload it."),
            ("branch", {"node": 2, "index": 0}, "The page sent no valid alternative: reload it."),
            ("retry", {"node": 2, "remedy": "pray"}, "The page sent no valid remedy: reload it."),
            ("retry", {"node": 2, "settings": None}, "The page sent no settings: reload it."),
            ("tokens", {"node": 99}, "This conversation has no such message."),
            ("undo", {"conversation": None}, "There is no conversation yet: send a message first."),
            ("fork", {}, "This conversation still fits: send a message."),
        ],
    )
    async def test_impossible_actions(
        self, store: ConversationStore, verb: str, more: dict[str, Any], reported: str
    ) -> None:
        """An unknown, incomplete or impossible action is refused in a sentence."""
        tab = tab_with(store, tokens("yes"))
        await tab.send_and_wait()
        with pytest.raises(InvalidRequestError) as caught:
            await tab.act(verb, **more)
        assert str(caught.value) == reported

    async def test_other_users(self, store: ConversationStore) -> None:
        """No user can see, change or stop a different user's conversation, answer or stream."""
        hers = RouteTab(route_with(store, tokens("yes"), [*tokens("secret"), None]), "you")
        await hers.send_and_wait()
        node = await hers.send()
        await FollowedAnswer().grow(hers.follow(node), until=1)
        before = store.archive("you", str(hers.conversation))
        more = {"node": node, "nodes": [node], "open": node, "index": 0, "alternative": 1, "text": "x"}
        intruder = RouteTab(hers.route, "me", hers.conversation)
        for verb in ACTIONS:
            with pytest.raises(NotFoundError):
                await intruder.act(verb, **more, messageId=verb)
        with pytest.raises(NotFoundError):
            await anext(intruder.follow(node))
        own = RouteTab(hers.route, "me", store.create("me", TurnSettings()))
        for verb in ("retry", "resume", "branch", "edit", "selectVersion", "tokens"):
            with pytest.raises(PellucidError):
                await own.act(verb, **more)
        assert await own.act("inspect", **more) == {"marks": {}, "opened": None}
        await own.act("stop", **more)
        assert [event async for event in own.follow(node, tokens=True)] == [{"n": None, "end": True, "error": None}]
        assert hers.route.turns.find(node) is not None
        assert store.archive("you", str(hers.conversation)) == before
        await hers.act("stop", node=node)


async def test_a_lost_connection_during_an_action(store: ConversationStore) -> None:
    """An action whose connection is lost is run to the end: no version stays without an answer."""
    tab = tab_with(store, tokens("yes"), tokens("no"), tokens("perhaps"))
    node = await tab.send()
    await tab.ended(node)
    question = next(iter(store.conversation("me", str(tab.conversation)).nodes))
    for verb, more in (("retry", {"node": node}), ("edit", {"node": question, "text": "Hi"})):
        for steps in range(8):
            acting = asyncio.create_task(tab.act(verb, **more))
            for _ in range(steps):
                await asyncio.sleep(0)
            acting.cancel()
            await asyncio.wait([acting])
            await asyncio.gather(*tab.route._running)
            await tab.route.turns.wait_until_idle()
    nodes = store.conversation("me", str(tab.conversation)).nodes.values()
    assert [one.id for one in nodes if one.role == ASSISTANT and one.end is None] == []
    answered = {one.parent for one in nodes if one.role == ASSISTANT}
    assert {one.id for one in nodes if one.role != ASSISTANT} == answered


class TestFollowing:
    PARTS = ("One.\n\nTwo *th", "ree*.\n\n```", "py\nx = 1\n", "```\n\n- a\n", "- b", "\n\nEnd.")

    async def test_every_beginning(self, store: ConversationStore) -> None:
        """A stream that begins late, or again after a lost connection, gives exactly the rest."""
        gates = [asyncio.Event() for _ in self.PARTS]
        script = [item for part, gate in zip(self.PARTS, gates, strict=True) for item in (token(part), gate)]
        tab = tab_with(store, script)
        node = await tab.send()
        streams = [tab.follow(node, tokens=True)]
        known = [FollowedAnswer()]
        for n, gate in enumerate(gates, 1):
            await asyncio.gather(*(one.grow(stream, until=n) for one, stream in zip(known, streams, strict=True)))
            turn = tab.route.turns.find(node)
            assert turn is not None
            assert {"".join(one.blocks) for one in known} == {"".join(turn.blocks)}
            if gate is not gates[-1]:  # A late tab, and a tab that has lost the connection.
                streams += [tab.follow(node, tokens=True), tab.follow(node, n, tokens=True)]
                known += [FollowedAnswer(), FollowedAnswer(n, ["lost"], list(known[0].tokens))]
            gate.set()
        await asyncio.gather(*(one.grow(stream) for one, stream in zip(known, streams, strict=True)))
        message = (await tab.show())["messages"][-1]
        for one in known:
            assert (one.blocks, texts(one.tokens)) == (message["blocks"], list(self.PARTS))

    async def test_kept_blocks(self, store: ConversationStore) -> None:
        """An event has the blocks from the first change on, and tokens only if wanted."""
        go_on = asyncio.Event()
        tab = tab_with(store, [token("One.\n\nTwo.\n\nThr"), go_on, token("ee.")])
        node = await tab.send()
        stream = tab.follow(node)
        async for event in stream:
            if event["n"] == 1:
                go_on.set()
                break
        changed = next(event for event in [one async for one in stream] if event["n"] == 2)
        assert (changed["keep"], changed["blocks"]) == (2, ["<p>Three.</p>\n"])
        assert "tokens" not in changed

    async def test_an_answer_that_has_ended(self, store: ConversationStore) -> None:
        """The stream of an answer that ended meanwhile ends at once."""
        tab = tab_with(store, tokens("yes"))
        node = await tab.send()
        await tab.route.turns.wait_until_idle()
        assert [event async for event in tab.follow(node, 1)] == [{"n": None, "end": True, "error": None}]

    async def test_a_closed_tab(self, store: ConversationStore) -> None:
        """A closed stream stops neither the answer nor the stream of a different tab."""
        go_on = asyncio.Event()
        tab = tab_with(store, [*tokens("one "), go_on, *tokens("two")])
        node = await tab.send()
        closed, open_ = tab.follow(node), tab.follow(node)
        await anext(closed)
        await anext(open_)
        await closed.aclose()
        assert tab.route.following == {"me": 1}
        go_on.set()
        await FollowedAnswer().grow(open_)
        assert tab.route.following == {}
        answer = store.conversation("me", str(tab.conversation)).nodes[node]
        assert (answer.text, answer.end) == ("one two", FinishReason.STOP)

    async def test_many_tabs_share_the_pace_of_their_user(
        self, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A user's tabs share an update rate, without effect on other users' tabs."""
        counted: list[int] = []

        def noted(following: int) -> float:
            counted.append(following)
            return 0.0

        monkeypatch.setattr("pellucid_webui.routes.chat.pause", noted)
        go_on = asyncio.Event()
        mine = tab_with(store, [token("one "), go_on, token("two ")])
        hers = RouteTab(mine.route, "you")
        nodes = await mine.send(), await hers.send()
        streams = [*(mine.follow(nodes[0]) for _ in range(6)), hers.follow(nodes[1])]
        known = [FollowedAnswer() for _ in streams]
        await asyncio.gather(*(one.grow(stream, until=1) for one, stream in zip(known, streams, strict=True)))
        counted.clear()
        go_on.set()
        await asyncio.gather(*(one.grow(stream) for one, stream in zip(known, streams, strict=True)))
        assert counted[:7] == [6, 6, 6, 6, 6, 6, 1]
        assert mine.route.following == {}

    def test_pause(self) -> None:
        """A few tabs do not wait; with more tabs the total rate of updates is constant."""
        assert [pause(tabs) for tabs in (1, FULL_PACE_TABS)] == [0.0, 0.0]
        for tabs in (FULL_PACE_TABS + 1, 2 * FULL_PACE_TABS, 8 * FULL_PACE_TABS):
            assert tabs / pause(tabs) == pytest.approx(FULL_PACE_TABS / TICK_SECONDS)

    async def test_the_event_loop_goes_on_during_highlighting(
        self, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
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
        monkeypatch.setattr("pellucid_webui.routes.chat.blocks_of", lambda turn: turn.blocks)  # without a time limit
        go_on = asyncio.Event()
        script: list[Item] = [*tokens("```java\n", "class A {}\n"), go_on, *tokens("class B {}\n", "```")]
        shown = asyncio.create_task(tab_with(store, script).send_and_wait())
        while not shown.done():
            await asyncio.sleep(0.01)
            for highlighted in waiting:
                highlighted.set()
                go_on.set()
        assert len((await shown)["messages"]) == 2
        assert (asked[0], asked[-1]) == ("class A {}\n", "class A {}\nclass B {}\n")


class StoreReadSlowly(ConversationStore):
    """Runs ``meanwhile`` once after reading a conversation."""

    meanwhile: Callable[[], None] | None = None

    def conversation(self, owner: str, id: str) -> Conversation:
        found = super().conversation(owner, id)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


class TestShowing:
    async def test_opening(self, store: ConversationStore) -> None:
        """Only an opening restores the settings, with the exact seed, and names the models."""
        tab = tab_with(store, tokens("yes"))
        new = await tab.show(opens=True)
        assert (new["settings"], new["header"]["owner"], new["header"]["menu"]["value"]) == (None, "me", "scripted")
        tab.settings = TurnSettings(model="scripted", temperature=0.25, seed=7)
        assert not {"settings", "header"} & set(await tab.send_and_wait())
        await tab.act("settings", settings=shown(TurnSettings(model="gone", seed=2**62 + 1)))
        opened = await tab.show(opens=True)
        assert opened["settings"] == TurnSettings(model="gone").record() | {"seed": str(2**62 + 1)}
        assert opened["header"]["menu"]["choices"] == [["scripted", "scripted"], ["gone (missing)", "gone"]]

    async def test_ended_while_the_conversation_is_read(self, tmp_path: Path) -> None:
        """An answer that ends while the conversation is read is shown as ended."""
        with closing(StoreReadSlowly(tmp_path / "conversations.db")) as store:
            last, loop = asyncio.Event(), asyncio.get_running_loop()
            tab = tab_with(store, [*tokens("yes"), last, *tokens("!")])
            await tab.send()
            assert (await tab.show())["live"] is not None

            async def end() -> None:
                last.set()
                await tab.route.turns.wait_until_idle()

            store.meanwhile = lambda: asyncio.run_coroutine_threadsafe(end(), loop).result()
            shown = await tab.show()
            message = shown["messages"][-1]
            assert (shown["live"], message["text"], message["end"]) == (None, "yes!", "stop")

    async def test_nothing_to_add(self, store: ConversationStore) -> None:
        """A continued version without new text is marked, and has the tokens of the answer."""
        tab = tab_with(store, tokens("yes"), [Finish(FinishReason.STOP, usage(0))])
        node = await tab.send()
        await tab.ended(node)
        answer = (await tab.act_and_wait("resume", node=node))["messages"][-1]
        assert (answer["idle"], answer["text"], answer["versions"]) == (True, "yes", [node, answer["node"]])
        assert texts((await tab.act("tokens", node=answer["node"]))["tokens"]) == ["yes"]

    async def test_undone(self, store: ConversationStore) -> None:
        """An undone message fills the field, and can be selected again."""
        tab = tab_with(store, tokens("yes"))
        assert (await tab.send_and_wait("Hi"))["redo"] is None
        assert await tab.act("undo") == {"draft": "Hi", "pictures": []}
        undone = await tab.show()
        assert undone["messages"] == []
        assert len((await tab.act_and_wait("selectVersion", node=undone["redo"]))["messages"]) == 2

    async def test_deleted_elsewhere(self, store: ConversationStore) -> None:
        """A deletion elsewhere ends the stream, and the conversation is refused with the reason."""
        tab = tab_with(store, [*tokens("yes"), None])
        node = await tab.send()
        known, stream = FollowedAnswer(), tab.follow(node)
        await known.grow(stream, until=1)
        route = tab.route
        await ChatActions("me", store, route.assistant_for("me"), route.turns).delete(str(tab.conversation))
        await known.grow(stream)
        assert (known.is_ended, known.error) == (True, None)
        with pytest.raises(NotFoundError, match="This conversation was deleted: you can restore it"):
            await tab.show()

    async def test_too_long(self, store: ConversationStore) -> None:
        """All tabs show the same notice for an overflow, up to a next answer or a changed path."""
        refused = [ContextLengthError(90, 64)]
        tab = tab_with(store, tokens("yes"), refused, tokens("yes"), tokens("no"), refused)
        await tab.send_and_wait("One")
        shown = await tab.send_and_wait("Two")
        notice = shown["context"]["notice"]
        assert notice["text"].startswith("This conversation is 90 tokens long, and scripted can read 64.")
        assert (notice["action"], notice["canDrop"]) == ({"verb": "retry", "node": shown["messages"][-1]["node"]}, True)
        assert await RouteTab(tab.route, "me", tab.conversation).show() == shown
        await tab.act("undo")
        assert (await tab.show())["context"]["notice"] is None
        await tab.act("selectVersion", node=notice["action"]["node"])
        assert (await tab.show())["context"]["notice"] == notice
        forked = RouteTab(tab.route, "me", tab.conversation)
        await forked.act("fork")
        assert (forked.conversation != tab.conversation, (await forked.show())["title"]) == (True, "One (continued)")
        answered = await tab.act_and_wait(**notice["action"], remedy="drop")
        assert (answered["context"]["notice"], answered["messages"][-1]["text"]) == (None, "no")
        resume = {"verb": "resume", "node": answered["messages"][-1]["node"]}
        assert (await tab.act_and_wait(**resume))["context"]["notice"]["action"] == resume

    async def test_while_an_answer_is_discarded(
        self, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While the answer to a message that is too long is discarded, a tab sees the overflow."""
        discard, is_discarded, has_looked = store.discard, threading.Event(), threading.Event()

        def discard_slowly(node: int) -> int | None:
            leaf = discard(node)
            is_discarded.set()
            assert has_looked.wait(LONG_SECONDS)
            return leaf

        class LookedAtAssistant(ScriptedPageAssistant):
            async def cards(self) -> list[ModelCard]:
                if is_discarded.is_set():
                    has_looked.set()
                return await super().cards()

        monkeypatch.setattr(store, "discard", discard_slowly)
        assistant = LookedAtAssistant([[ContextLengthError(90, 64)]])
        tab = RouteTab(ChatRoute(store, shared(assistant), Turns()))
        await tab.send()
        await asyncio.to_thread(is_discarded.wait, LONG_SECONDS)
        notice = (await tab.show())["context"]["notice"]
        assert notice["text"].startswith("Your message and the system prompt are 90 tokens long")


class TestRenderedMessages:
    """Counts how often messages are rendered, by their texts."""

    @pytest.fixture
    def rendered(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        counted: list[str] = []

        def counting(text: str) -> list[str]:
            counted.append(text)
            return blocks(text)

        monkeypatch.setattr("pellucid_webui.routes.conversation_display.blocks", counting)
        return counted

    async def test_once_for_all_tabs(self, store: ConversationStore, rendered: list[str]) -> None:
        """A finished message is rendered once for all tabs, and again after a change."""
        tab = tab_with(store, tokens("yes"), tokens("no"))
        node = await tab.send()
        await tab.ended(node)
        for _ in range(3):
            await RouteTab(tab.route, "me", tab.conversation).show()
        assert rendered == ["Hello", "yes"]
        retried = await tab.act_and_wait("retry", node=node)
        assert rendered == ["Hello", "yes", "no"]
        await tab.act("selectVersion", node=node)
        shown = (await tab.show())["messages"][-1]
        assert (shown["versions"], rendered[3:]) == ([node, retried["messages"][-1]["node"]], ["yes"])

    async def test_during_an_answer(self, store: ConversationStore, rendered: list[str]) -> None:
        """During an answer, the messages before are not rendered again."""
        go_on = asyncio.Event()
        tab = tab_with(store, [*tokens("more "), go_on, *tokens("and more")])
        node = await tab.send()
        await tab.show()
        await FollowedAnswer().grow(tab.follow(node), until=1)
        await tab.show()
        go_on.set()
        await tab.ended(node)
        assert rendered == ["Hello", "more and more"]

    def test_after_a_change(self, store: ConversationStore) -> None:
        """A message is rendered again after more text, and after the end."""
        id, kept = store.create("me", TurnSettings()), RenderedMessages()
        node = store.add("me", id, None, ASSISTANT, "a")

        def rendered() -> tuple[str, str | None]:
            found = store.conversation("me", id)
            message = json.loads(kept.of(found, found.nodes[node]))
            return message["text"], message["end"]

        assert rendered() == ("a", None)
        store.append(node, "b", "")
        assert rendered() == ("ab", None)
        store.finish(node, FinishReason.STOP, usage(1))
        assert rendered() == ("ab", "stop")
        assert kept._size == sum(len(text) for _, text in kept._messages.values())

    def test_without_time_for_highlighting(self, store: ConversationStore) -> None:
        """Code without highlighting for lack of time is highlighted the next time."""
        id, kept = store.create("me", TurnSettings()), RenderedMessages()
        node = store.add("me", id, None, ASSISTANT, "```python\nx = 1\n```", end=FinishReason.STOP)
        found = store.conversation("me", id)
        late = highlighting.highlighting_ends_after(0.0)(kept.of)(found, found.nodes[node])
        assert "<span class=" not in late
        assert "<span class=" in kept.of(found, found.nodes[node])

    def test_limit(self, store: ConversationStore, rendered: list[str]) -> None:
        """The least recently shown messages are dropped; the newest always stays."""
        id = store.create("me", TurnSettings())
        for text in "abc":
            leaf = store.conversation("me", id).leaf
            store.add("me", id, leaf, ASSISTANT if leaf else USER, text * 100, end=FinishReason.STOP)
        found = store.conversation("me", id)
        a, b, c = found.path()
        kept = RenderedMessages(len(RenderedMessages().of(found, a)) * 2 + 100)
        for node in (a, b, a, c, a, b):
            kept.of(found, node)
        assert [text[0] for text in rendered[1:]] == ["a", "b", "c", "b"]
        assert kept._size == sum(len(text) for _, text in kept._messages.values()) <= kept._most
        tiny = RenderedMessages(1)
        assert state_of(tiny, found, None)["messages"] == [kept.of(found, node) for node in (a, b, c)]
        assert list(tiny._messages) == [c.id]


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
        """A message that cannot be scored is refused with the reason."""
        tab = RouteTab(ChatRoute(store, shared(Reader([tokens("yes")], end=end)), Turns()))
        message = (await tab.send_and_wait())["messages"][0]
        with pytest.raises(PellucidError) as caught:
            await tab.act("tokens", node=message["node"])
        assert str(caught.value) == reported

    async def test_of_an_answer_that_has_none_yet(self, store: ConversationStore) -> None:
        """A running answer opens at once with the generated tokens, without scoring."""
        begin, assistant = asyncio.Event(), Reader()
        assistant.scripts = [[begin, *tokens("yes")]]
        tab = RouteTab(ChatRoute(store, shared(assistant), Turns()))
        node = await tab.send()
        assert await tab.act("tokens", node=node) == {"node": node, "tokens": []}
        begin.set()
        await tab.ended(node)
        assert texts((await tab.act("tokens", node=node))["tokens"]) == ["yes"]
        assert assistant.read == 0

    async def test_stopped_while_its_tokens_are_open(self, store: ConversationStore) -> None:
        """The stream of an answer stopped elsewhere ends with all tokens."""
        tab = tab_with(store, [*tokens("one ", "two "), None])
        node = await tab.send()
        known, stream = FollowedAnswer(), tab.follow(node, tokens=True)
        await known.grow(stream, until=1)
        await RouteTab(tab.route, "me", tab.conversation).act("stop", node=node)
        await known.grow(stream)
        assert known.tokens == (await tab.act("tokens", node=node))["tokens"]
        assert texts(known.tokens) == ["one ", "two "]
