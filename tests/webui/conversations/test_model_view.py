"""Tests the messages read by the model, and conversations longer than the context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pellucid.errors import ContextLengthError, InvalidRequestError
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.chat_actions import FORKED, ChatActions
from pellucid_webui.conversations.conversation import ASSISTANT, USER, Conversation, Node
from pellucid_webui.conversations.model_view import (
    SUMMARY_PREFACE,
    SUMMARY_PROMPT,
    ModelView,
    Remedy,
    estimated_tokens,
    messages_of,
    narrower,
    summarised,
    view_of,
)
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turn, Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.page.scripted_assistant import MODEL, ended, token
from support.silent_assistant import SilentAssistant
from support.trial_counts import trial_count

SETTINGS = TurnSettings(model=MODEL, seed=1)


@dataclass
class CountingAssistant(SilentAssistant):
    """Answers "ok", with a token for each character; refuses prompts beyond the small context."""

    context: int = 100
    read: list[list[Message]] = field(default_factory=list)

    async def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        size = sum(message.characters for message in query.messages)
        if size + 1 > self.context:
            raise ContextLengthError(size, self.context)
        self.read.append(list(query.messages))
        text = "short" if SUMMARY_PROMPT in query.messages[-1].content else "ok"
        yield token(text)
        yield Finish(FinishReason.STOP, Usage(computed=size, generated=len(text)))

    async def cards(self) -> list[ModelCard]:
        return [ModelCard(name=MODEL, context=self.context)]


class LongChat:
    """Ann's conversation with an assistant of a small context."""

    def __init__(self, store: ConversationStore, context: int = 100) -> None:
        self.store = store
        self.assistant = CountingAssistant(context)
        self.actions = ChatActions("ann", store, self.assistant, Turns())
        self.id = store.create("ann", SETTINGS)

    def add(self, *texts: str) -> None:
        """Add messages after the selected message, the user's first."""
        for text in texts:
            path = self.conversation.path()
            role = USER if not path or path[-1].role == ASSISTANT else ASSISTANT
            self.store.add("ann", self.id, path[-1].id if path else None, role, text, end=FinishReason.STOP)

    async def answer(self, remedy: Remedy | None = None) -> Turn:
        leaf = self.conversation.leaf
        assert leaf is not None
        return await ended(await self.actions.retry(self.id, leaf, SETTINGS, remedy=remedy))

    @property
    def conversation(self) -> Conversation:
        return self.store.conversation("ann", self.id)

    @property
    def read(self) -> list[str]:
        """The texts that were read for the last answer."""
        return [message.content for message in self.assistant.read[-1]]


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[LongChat]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        yield LongChat(store)


LONG = ("q1" * 10, "a1" * 10, "q2" * 10, "a2" * 10, "q3")
"""Messages too long for 100 tokens."""


class TestTooLong:
    async def test_ask(self, chat: LongChat) -> None:
        """A conversation that is too long is reported with the length; all messages are kept."""
        chat.add(*LONG)
        turn = await chat.answer()
        assert turn.overflow is not None
        assert (turn.overflow.tokens, turn.overflow.limit) == (112, 100)
        assert [node.text for node in chat.conversation.nodes.values()] == list(LONG)
        assert chat.conversation.path()[-1].text == "q3"

    async def test_drop(self, chat: LongChat) -> None:
        """With the oldest turns dropped, the newest turns that fit are read; all turns are kept."""
        chat.add(*LONG)
        turn = await chat.answer("drop")
        assert turn.end is FinishReason.STOP
        assert chat.read == [*LONG[2:]]
        path = chat.conversation.path()
        assert [node.text for node in path] == [*LONG, "ok"]
        assert path[-1].begins == path[2].id

    async def test_drop_again(self, chat: LongChat) -> None:
        """After the first drop, further turns are dropped automatically."""
        chat.add(*LONG)
        await chat.answer("drop")
        chat.add("q4" * 20)
        await chat.answer()
        assert chat.read == ["q3", "ok", "q4" * 20]
        assert view_of(chat.conversation.path()).begins == chat.conversation.path()[4].id

    async def test_the_system_prompt_stays(self, chat: LongChat) -> None:
        """The system prompt is always read."""
        chat.add(*LONG)
        leaf = chat.conversation.leaf
        assert leaf is not None
        await ended(await chat.actions.retry(chat.id, leaf, replace(SETTINGS, system="Be brief."), remedy="drop"))
        assert chat.read[0] == "Be brief."
        assert chat.read[-1] == "q3"

    async def test_summarise(self, chat: LongChat) -> None:
        """The model's summary replaces the oldest turns, and is stored with the answer."""
        chat.assistant.context = 500
        chat.add("q" * 300, "a" * 100, "q2", "a2", "q3" * 60)
        await chat.answer("summarise")
        path = chat.conversation.path()
        assert chat.read == [f"{SUMMARY_PREFACE}\n\nshort", "q2", "a2", "q3" * 60]
        assert (path[-1].begins, path[-1].summary, path[-1].text) == (path[2].id, "short", "ok")
        assert [node.text for node in path[:-1]] == ["q" * 300, "a" * 100, "q2", "a2", "q3" * 60]

    async def test_too_long_for_one_summary(self) -> None:
        """Long turns are summarised in parts, each after the earlier summary, without gaps."""
        assistant = CountingAssistant(context=len(SUMMARY_PROMPT) + 100)
        nodes = [Node(number, number - 1 or None, USER, f"{number}" * 70, 0.0) for number in range(1, 5)]
        assert await summarised(assistant, "", nodes, SETTINGS, 100) == "short"
        parts = [messages[0].content.removeprefix(SUMMARY_PROMPT).strip() for messages in assistant.read]
        assert len(parts) > 3
        assert all(part.startswith("short") for part in parts[1:])
        found = "".join(part.removeprefix("short").strip() for part in parts)
        assert [found.count(str(number)) for number in range(1, 5)] == [70] * 4

    async def test_a_summary_that_is_stopped(self, chat: LongChat) -> None:
        """An answer stopped during the summary has no view."""
        chat.add(*LONG)
        gate = asyncio.Event()
        original = chat.assistant.chat

        async def slow(query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
            if SUMMARY_PROMPT in query.messages[-1].content:
                gate.set()
                await asyncio.Event().wait()
            async for item in original(query):
                yield item

        chat.assistant.chat = slow  # type: ignore[method-assign]
        leaf = chat.conversation.leaf
        assert leaf is not None
        turn = await chat.actions.retry(chat.id, leaf, SETTINGS, remedy="summarise")
        await gate.wait()
        assert turn.status == "Summarising the oldest messages…"
        await turn.stop()
        assert (turn.end, chat.conversation.path()[-1].begins) == (FinishReason.CANCELLED, None)

    async def test_fork(self, chat: LongChat) -> None:
        """A fork is a new conversation of the newest messages that fit; the old is unchanged."""
        chat.add(*LONG)
        before = chat.conversation
        id, turn = await chat.actions.fork(chat.id, SETTINGS, ContextLengthError(112, 100))
        await ended(turn)
        assert chat.conversation == before
        copy = chat.store.conversation("ann", id)
        assert [node.text for node in copy.path()] == [*LONG[2:], "ok"]
        assert copy.title == f"New conversation{FORKED}"
        assert view_of(copy.path()) == ModelView()

    async def test_a_refused_fork(self, chat: LongChat) -> None:
        """A fork that cannot be continued leaves no copy."""
        chat.add(*LONG, "an answer")
        settings = replace(SETTINGS, answer_format="json_object")
        with pytest.raises(InvalidRequestError, match="cannot be continued under an answer format"):
            await chat.actions.fork(chat.id, settings, ContextLengthError(112, 100))
        assert len(chat.store.list("ann")) == 1

    async def test_one_message_that_is_too_long(self, chat: LongChat) -> None:
        """A message that does not fit alone is reported and kept, for any remedy."""
        chat.add("q" * 200)
        remedies: tuple[Remedy | None, ...] = ("drop", "summarise", None)
        for remedy in remedies:
            turn = await chat.answer(remedy)
            assert turn.overflow is not None
        with pytest.raises(ContextLengthError):
            await chat.actions.fork(chat.id, SETTINGS, ContextLengthError(204, 100))
        assert [node.text for node in chat.conversation.nodes.values()] == ["q" * 200]
        assert len(chat.store.list("ann")) == 1

    async def test_an_answer_that_fills_the_context(self, chat: LongChat) -> None:
        """An answer that filled the context is continued after older turns are dropped."""
        chat.add("q1" * 10, "a1" * 10, "q2", "b" * 40)
        leaf = chat.conversation.leaf
        assert leaf is not None
        turn = await ended(await chat.actions.resume(chat.id, leaf, SETTINGS))
        assert turn.overflow is not None
        assert chat.conversation.leaf == leaf
        await ended(await chat.actions.resume(chat.id, leaf, SETTINGS, remedy="drop"))
        assert chat.read == ["q2", "b" * 40]
        assert chat.conversation.path()[-1].text == f"{'b' * 40}ok"

    async def test_other_versions(self, chat: LongChat) -> None:
        """Each version has a view of its own, and a retry has the view of the origin."""
        chat.add(*LONG[:4])
        chat.assistant.context = 1000
        chat.add("q3")
        whole = (await chat.answer()).node
        chat.assistant.context = 100
        turn = await ended(await chat.actions.retry(chat.id, whole, SETTINGS, remedy="drop"))
        assert view_of(chat.conversation.path()).begins == chat.conversation.path()[2].id
        again = await ended(await chat.actions.retry(chat.id, turn.node, SETTINGS))
        assert chat.read == [*LONG[2:]]
        assert chat.conversation.nodes[again.node].begins == chat.conversation.nodes[turn.node].begins
        await chat.actions.select_version(chat.id, whole)
        assert view_of(chat.conversation.path()) == ModelView()

    async def test_read_all_again(self, chat: LongChat) -> None:
        """In a larger context, a retry and later answers can read all messages again."""
        chat.add(*LONG)
        answer = (await chat.answer("drop")).node
        chat.assistant.context = 1000
        await ended(await chat.actions.retry(chat.id, answer, SETTINGS, reads_all=True))
        assert chat.read == list(LONG)
        chat.add("q4")
        await chat.answer()
        assert chat.read == [*LONG, "ok", "q4"]

    async def test_a_retry_of_an_older_answer(self, chat: LongChat) -> None:
        """A refused retry leaves the path unchanged."""
        chat.add("q1" * 40, "a1", "q2", "a2")
        path = chat.conversation.path()
        turn = await ended(await chat.actions.retry(chat.id, path[1].id, replace(SETTINGS, system="s" * 50)))
        assert turn.overflow is not None
        assert chat.conversation.path() == path


class TestEstimate:
    def test_known_exactly(self) -> None:
        """The last answer's count is used, and later text is estimated at the same rate."""
        path = [
            Node(1, None, USER, "q" * 196, 0.0),
            Node(2, 1, ASSISTANT, "a" * 191, 0.0, usage=Usage(cached=50, computed=20, generated=30)),
            Node(3, 2, USER, "q" * 76, 0.0),
        ]
        assert estimated_tokens(path[:2], SETTINGS) == 100
        assert estimated_tokens(path, SETTINGS) == 120

    def test_unknown(self) -> None:
        """Without a count, characters and the system prompt give the estimate."""
        path = [Node(1, None, USER, "q" * 346, 0.0)]
        assert estimated_tokens(path, SETTINGS) == 100
        assert estimated_tokens(path, replace(SETTINGS, system="s" * 344)) == 200

    def test_after_messages_were_dropped(self) -> None:
        """Counts of a wider view are ignored."""
        path = [
            Node(1, None, USER, "q" * 96, 0.0),
            Node(2, 1, ASSISTANT, "a", 0.0, usage=Usage(computed=9000, generated=1)),
            Node(3, 2, USER, "q", 0.0),
            Node(4, 3, ASSISTANT, "", 0.0, begins=3),
            Node(5, 4, USER, "q", 0.0),
        ]
        assert estimated_tokens(path, SETTINGS) < 20


@given(
    st.lists(st.integers(0, 120), min_size=1, max_size=9),
    st.integers(2, 200),
    st.lists(st.sampled_from(["ask", "drop", "summarise", "fork"]), min_size=1, max_size=3),
    st.text(max_size=20),
)
@hypothesis_settings(max_examples=trial_count(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], context: int, remedies: list[str], system: str
) -> None:
    """Any sent conversation fits, or is reported as too long; no stored message changes."""

    async def main(store: ConversationStore) -> None:
        chat = LongChat(store, context)
        chat.add(*("x" * (size + 1) for size in sizes))
        if chat.conversation.path()[-1].role == ASSISTANT:
            chat.add("question")
        for remedy in remedies:
            before = dict(chat.conversation.nodes)
            leaf = chat.conversation.leaf
            assert leaf is not None
            settings = replace(SETTINGS, system=system)
            node = chat.conversation.nodes[leaf]
            turn = None
            try:
                if remedy == "fork":
                    _, turn = await chat.actions.fork(chat.id, settings, ContextLengthError(context + 1, context))
                elif node.role == USER:
                    turn = await chat.actions.retry(chat.id, leaf, settings, remedy=remedy)  # type: ignore[arg-type]
                else:
                    turn = await chat.actions.resume(chat.id, leaf, settings, remedy=remedy)  # type: ignore[arg-type]
            except (ContextLengthError, InvalidRequestError):
                pass  # Reported at once
            if turn is not None:
                await ended(turn)
                assert turn.overflow is not None or turn.end is FinishReason.STOP or turn.error
            after = chat.conversation.nodes
            assert {id: replace(after[id], chosen=None) for id in before} == {
                id: replace(old, chosen=None) for id, old in before.items()
            }
        for messages in chat.assistant.read:
            assert sum(message.characters for message in messages) < context

    with closing(ConversationStore(tmp_path_factory.mktemp("any") / "conversations.db")) as store:
        asyncio.run(main(store))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 400), st.integers(1, 400))
def test_narrower_ends(sizes: list[int], tokens: int, context: int) -> None:
    """Each narrower view begins at a later question, until a single message is left."""
    path = [Node(n, n - 1 or None, USER if n % 2 else ASSISTANT, "x" * size, 0.0) for n, size in enumerate(sizes, 1)]
    view: ModelView | None = ModelView()
    lengths = []
    while view is not None:
        lengths.append(len(messages_of(path, "", SETTINGS, view)))
        view = narrower(path, view, "", SETTINGS, ContextLengthError(tokens, context))
        assert view is None or path[(view.begins or 0) - 1].role == USER
    assert lengths == sorted(set(lengths), reverse=True)
    assert lengths[-1] <= 2
