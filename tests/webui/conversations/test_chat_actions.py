"""Tests the actions on a conversation: versions are added, and no message is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import ContextLengthError, InvalidRequestError, NotFoundError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.message import Message, ToolCall
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.token import CallDelta, CallPart
from pellucid_webui.conversations.chat_actions import SEEDS, ChatActions
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.conversations.conversation import ASSISTANT, USER, Node
from pellucid_webui.conversations.model_view import messages_of
from pellucid_webui.conversations.storage.store import DEFAULT_TITLE, ConversationStore
from pellucid_webui.conversations.turn import Turn, Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant, ended, token, tokens
from support.scripted_answers import Item

SETTINGS = TurnSettings(model=MODEL, seed=1)


class ScriptedChat:
    """Ann's chat with a scripted assistant and a single conversation."""

    def __init__(self, store: ConversationStore) -> None:
        self.store = store
        self.assistant = ScriptedPageAssistant()
        self.turns = Turns()
        self.actions = ChatActions("ann", store, self.assistant, self.turns)
        self.id = store.create("ann", SETTINGS)

    def script(self, *script: Item) -> None:
        self.assistant.scripts = [script]

    async def say(self, text: str, *answer: str, settings: TurnSettings = SETTINGS) -> int:
        """Send a message, wait for an answer with these tokens, and return the answer's node."""
        self.script(*tokens(*answer))
        return (await ended(await self.actions.send(self.id, text, settings))).node

    @property
    def path(self) -> list[str]:
        return [node.text for node in self.store.conversation("ann", self.id).path()]

    @property
    def texts(self) -> list[str]:
        """All messages ever added, in order."""
        return [node.text for node in self.store.conversation("ann", self.id).nodes.values()]

    def node(self, id: int) -> Node:
        return self.store.conversation("ann", self.id).nodes[id]

    def said_by(self, node: int) -> list[str]:
        return [token.text for token in unpack(self.store.tokens("ann", self.id, node))]

    @property
    def last_messages(self) -> list[tuple[str, str]]:
        """The messages of the last chat request."""
        return [(message.role, message.content) for message in self.assistant.chats[-1].query.messages]


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[ScriptedChat]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        yield ScriptedChat(store)


class TestSend:
    async def test_an_answer(self, chat: ScriptedChat) -> None:
        """A message is answered, and the answer has the settings."""
        answer = await chat.say("Hi", "Hel", "lo")
        await chat.say("More?", "Yes")
        assert chat.path == ["Hi", "Hello", "More?", "Yes"]
        assert chat.last_messages == [(USER, "Hi"), (ASSISTANT, "Hello"), (USER, "More?")]
        found = chat.node(answer)
        assert (found.role, found.model, found.settings, found.end, found.origin) == (
            ASSISTANT,
            MODEL,
            SETTINGS,
            FinishReason.STOP,
            None,
        )
        assert not chat.assistant.chats[-1].query.continue_last

    async def test_the_system_prompt(self, chat: ScriptedChat) -> None:
        """A system prompt that is not empty comes first."""
        await chat.say("Hi", "a", settings=TurnSettings(model=MODEL, system="Be brief."))
        assert chat.last_messages == [("system", "Be brief."), (USER, "Hi")]
        await chat.say("Hi", "a", settings=TurnSettings(model=MODEL, system="  "))
        assert chat.last_messages[0] == (USER, "Hi")

    async def test_an_answer_can_be_had_again(self, chat: ScriptedChat) -> None:
        """The default model and a drawn seed are saved with the answer."""
        answer = await chat.say("Hi", "a", settings=TurnSettings())
        settings = chat.node(answer).settings
        assert settings is not None
        assert settings.model == chat.node(answer).model == chat.assistant.chats[-1].query.model == MODEL
        assert settings.seed is not None
        assert 0 <= settings.seed < SEEDS
        assert chat.assistant.chats[-1].query.params.seed == settings.seed

    @pytest.mark.parametrize(
        ("text", "title"),
        [
            ("Hello there", "Hello there"),
            ("\n\n  first   line\nsecond", "first line"),
            ("x" * 61, "x" * 59 + "…"),
            ("# A heading", "A heading"),
            ("```python a.py\nx\n```", "python a.py"),
            ("###", "###"),
        ],
    )
    async def test_it_names_the_conversation(self, chat: ScriptedChat, text: str, title: str) -> None:
        """The first line of the first message becomes the conversation's title."""
        await chat.say(text, "a")
        await chat.say("another", "b")
        assert chat.store.list("ann")[0].title == title

    async def test_a_name_that_was_given_stays(self, chat: ScriptedChat) -> None:
        """A renamed conversation keeps the title."""
        chat.store.rename("ann", chat.id, "Mine")
        await chat.say("Hi", "a")
        assert chat.store.list("ann")[0].title == "Mine"

    async def test_nothing(self, chat: ScriptedChat) -> None:
        """An empty message is refused."""
        with pytest.raises(InvalidRequestError, match="message is empty"):
            await chat.actions.send(chat.id, " \n", SETTINGS)
        assert chat.texts == []

    async def test_what_cannot_be_answered_is_not_kept(
        self, chat: ScriptedChat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With invalid settings or without a server, a message is not saved."""
        with pytest.raises(InvalidRequestError, match="top_p must be"):
            await chat.actions.send(chat.id, "Hi", TurnSettings(top_p=5))

        async def nobody() -> list[ModelCard]:
            raise UnavailableError("No server answers.")

        monkeypatch.setattr(chat.assistant, "cards", nobody)
        with pytest.raises(UnavailableError):
            await chat.actions.send(chat.id, "Hi", TurnSettings())
        assert (chat.texts, chat.store.list("ann")[0].title) == ([], DEFAULT_TITLE)

    async def test_the_first_message(self, chat: ScriptedChat) -> None:
        """The first message creates a conversation, unless the message cannot be answered."""
        chat.script(*tokens("a"))
        id, turn = await chat.actions.send_first("Hi", SETTINGS)
        await ended(turn)
        assert [node.text for node in chat.store.conversation("ann", id).path()] == ["Hi", "a"]
        for text, settings in ((" ", SETTINGS), ("Hi", TurnSettings(top_p=5))):
            with pytest.raises(InvalidRequestError):
                await chat.actions.send_first(text, settings)
        assert {one.id for one in chat.store.list("ann")} == {chat.id, id}


class TestFormatsAndTools:
    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            (TurnSettings(answer_format="json_schema", schema="{"), "not valid JSON"),
            (TurnSettings(tools="["), "not valid JSON"),
            (TurnSettings(reasoning="low"), f"{MODEL} does not reason before it answers: set Reasoning to Off."),
        ],
    )
    async def test_checked_before_sending(self, chat: ScriptedChat, settings: TurnSettings, sentence: str) -> None:
        """Invalid JSON or impossible reasoning is refused before a message is saved or sent."""
        with pytest.raises(InvalidRequestError, match=sentence):
            await chat.actions.send(chat.id, "Hi", settings)
        assert (chat.texts, chat.assistant.chats) == ([], [])

    async def test_not_continued(self, chat: ScriptedChat) -> None:
        """An answer is neither continued nor branched under an answer format."""
        answer = await chat.say("Hi", "Hel", "lo")
        settings = replace(SETTINGS, answer_format="json_object")
        with pytest.raises(InvalidRequestError, match="cannot be continued under an answer format: regenerate it"):
            await chat.actions.resume(chat.id, answer, settings)
        with pytest.raises(InvalidRequestError, match="cannot be continued under an answer format: regenerate it"):
            await chat.actions.branch(chat.id, answer, 0, 1, settings)
        assert chat.texts == ["Hi", "Hello"]

    async def test_calls_are_read(self, chat: ScriptedChat) -> None:
        """The model reads complete calls of earlier answers; answers with calls cannot resume."""
        settings = replace(SETTINGS, tools='[{"type": "function", "function": {"name": "f"}}]')
        deltas = (CallDelta(0, "{}", "c1", "f"), CallDelta(1, "{", "c2", "f"))
        chat.script(replace(token(""), part=CallPart(0, deltas)))
        answer = (await ended(await chat.actions.send(chat.id, "Hi", settings))).node
        await chat.say("Thanks", "ok")
        assert chat.assistant.chats[-1].query.messages[1] == Message(ASSISTANT, "", (ToolCall("c1", "f", "{}"),))
        with pytest.raises(InvalidRequestError, match="with tool calls cannot be continued"):
            await chat.actions.resume(chat.id, answer, SETTINGS)


class TestVersions:
    async def test_retry(self, chat: ScriptedChat) -> None:
        """A retry is a further version of an answer, generated from the same messages."""
        first = await chat.say("Hi", "one")
        chat.script(*tokens("two"))
        second = await ended(await chat.actions.retry(chat.id, first, SETTINGS))
        assert chat.path == ["Hi", "two"]
        assert chat.last_messages == [(USER, "Hi")]
        assert (chat.node(second.node).origin, chat.node(second.node).parent) == (first, chat.node(first).parent)
        await chat.actions.select_version(chat.id, first)
        assert chat.path == ["Hi", "one"]

    async def test_retry_of_an_older_answer(self, chat: ScriptedChat) -> None:
        """The messages after the older version stay below it."""
        first = await chat.say("Hi", "one")
        await chat.say("more", "three")
        chat.script(*tokens("two"))
        await ended(await chat.actions.retry(chat.id, first, SETTINGS))
        assert (chat.path, chat.last_messages) == (["Hi", "two"], [(USER, "Hi")])
        await chat.actions.select_version(chat.id, first)
        assert chat.path == ["Hi", "one", "more", "three"]

    async def test_retry_of_a_question(self, chat: ScriptedChat) -> None:
        """A message left without an answer can be answered later."""
        question = chat.store.add("ann", chat.id, None, USER, "Hi")
        chat.script(*tokens("one"))
        await ended(await chat.actions.retry(chat.id, question, SETTINGS))
        assert chat.path == ["Hi", "one"]

    async def test_edit_a_question(self, chat: ScriptedChat) -> None:
        """An edited question is a new version with a new answer."""
        answer = await chat.say("Hi", "one")
        question = chat.node(answer).parent
        assert question is not None
        chat.script(*tokens("two"))
        turn = await chat.actions.edit(chat.id, question, "Ho", SETTINGS)
        assert turn is not None
        await ended(turn)
        assert (chat.path, chat.last_messages) == (["Ho", "two"], [(USER, "Ho")])
        assert chat.node(chat.node(turn.node).parent or 0).origin == question
        await chat.actions.select_version(chat.id, question)
        assert chat.path == ["Hi", "one"]

    async def test_edit_an_answer(self, chat: ScriptedChat) -> None:
        """An edited answer is a version without tokens, made without a model or server."""
        answer = await chat.say("Hi", "one")
        assert await chat.actions.edit(chat.id, answer, "mine", TurnSettings(top_p=9)) is None
        assert chat.path == ["Hi", "mine"]
        (mine,) = [node for node in chat.store.conversation("ann", chat.id).nodes.values() if node.text == "mine"]
        assert (mine.origin, mine.settings, mine.model, mine.end) == (answer, None, "", FinishReason.STOP)
        assert (chat.said_by(mine.id), len(chat.assistant.chats)) == ([], 1)

    async def test_edit_to_nothing(self, chat: ScriptedChat) -> None:
        """A message cannot be edited to be empty."""
        answer = await chat.say("Hi", "one")
        with pytest.raises(InvalidRequestError, match="edited message is empty"):
            await chat.actions.edit(chat.id, answer, " ", SETTINGS)

    async def test_undo(self, chat: ScriptedChat) -> None:
        """Undo returns the last question and ends the path before it; all versions remain."""
        await chat.say("Hi", "one")
        second = await chat.say("more", "two")
        assert (await chat.actions.undo(chat.id)).text == "more"
        assert chat.path == ["Hi", "one"]
        await chat.say("else", "three")
        assert chat.path == ["Hi", "one", "else", "three"]
        await chat.actions.select_version(chat.id, second)
        assert chat.path == ["Hi", "one", "more", "two"]

    async def test_undo_everything(self, chat: ScriptedChat) -> None:
        """After undo of the first question, the next message is a version of the first."""
        await chat.say("Hi", "one")
        assert ((await chat.actions.undo(chat.id)).text, chat.path) == ("Hi", [])
        with pytest.raises(InvalidRequestError, match="nothing to undo"):
            await chat.actions.undo(chat.id)
        await chat.say("Ho", "two")
        conversation = chat.store.conversation("ann", chat.id)
        assert (chat.path, len(conversation.children(None))) == (["Ho", "two"], 2)


class TestGoingOn:
    async def test_resume(self, chat: ScriptedChat) -> None:
        """An answer is continued in a new version with all tokens; the shorter version stays."""
        first = await chat.say("Hi", "one", " two")
        chat.script(*tokens(" three"))
        turn = await ended(await chat.actions.resume(chat.id, first, SETTINGS))
        assert chat.path == ["Hi", "one two three"]
        assert chat.last_messages == [(USER, "Hi"), (ASSISTANT, "one two")]
        assert chat.assistant.chats[-1].query.continue_last
        assert chat.said_by(turn.node) == ["one", " two", " three"]
        assert (chat.node(turn.node).origin, chat.node(first).text, chat.node(turn.node).continued) == (
            first,
            "one two",
            7,
        )

    async def test_resume_of_nothing(self, chat: ScriptedChat) -> None:
        """An answer without tokens is generated from the beginning."""
        chat.script(UnavailableError("No."))
        failed = await ended(await chat.actions.send(chat.id, "Hi", SETTINGS))
        chat.script(*tokens("one"))
        await ended(await chat.actions.resume(chat.id, failed.node, SETTINGS))
        assert (chat.path, chat.last_messages, chat.assistant.chats[-1].query.continue_last) == (
            ["Hi", "one"],
            [(USER, "Hi")],
            False,
        )

    async def test_resume_of_half_a_character(self, chat: ScriptedChat) -> None:
        """An answer that ends inside a character is continued before this character."""
        chat.script(*tokens("a"), token("b\ufffd", 2, data=b"b\xf0\x9f"), Finish(FinishReason.LENGTH, Usage()))
        first = await ended(await chat.actions.send(chat.id, "Hi", SETTINGS))
        chat.script(*tokens("c"))
        turn = await ended(await chat.actions.resume(chat.id, first.node, SETTINGS))
        assert (chat.path, chat.last_messages[-1], chat.said_by(turn.node)) == (
            ["Hi", "ac"],
            (ASSISTANT, "a"),
            ["a", "c"],
        )
        assert "Hi" in chat.texts
        assert "ab\ufffd" in chat.texts

    async def test_branch(self, chat: ScriptedChat) -> None:
        """A branch replaces a token by an alternative; earlier tokens are unchanged."""
        first = await chat.say("Hi", "one", " two", " three")
        chat.script(*tokens(" and more"))
        turn = await ended(await chat.actions.branch(chat.id, first, 1, 1, SETTINGS))
        assert chat.path == ["Hi", "one other and more"]
        assert chat.last_messages[-1] == (ASSISTANT, "one other")
        assert chat.assistant.chats[-1].query.continue_last
        assert chat.said_by(turn.node) == ["one", " other", " and more"]
        assert (chat.node(turn.node).origin, chat.node(turn.node).branched) == (first, 1)
        await chat.actions.select_version(chat.id, first)
        assert chat.path == ["Hi", "one two three"]

    async def test_branch_of_a_branch(self, chat: ScriptedChat) -> None:
        """The alternatives of a replaced token can start a branch."""
        first = await chat.say("Hi", "one", " two")
        chat.script(*tokens(" x"))
        second = await ended(await chat.actions.branch(chat.id, first, 1, 1, SETTINGS))
        chat.script(*tokens(" y"))
        await ended(await chat.actions.branch(chat.id, second.node, 1, 0, SETTINGS))
        assert chat.path == ["Hi", "one two y"]

    async def test_branch_behind_what_a_person_wrote(self, chat: ScriptedChat) -> None:
        """A beginning written by a person stays in front of a branch."""
        first = await chat.say("Hi", "one")
        await chat.actions.edit(chat.id, first, "mine", SETTINGS)
        (mine,) = [id for id, node in chat.store.conversation("ann", chat.id).nodes.items() if node.text == "mine"]
        chat.script(*tokens(" two", " three"))
        second = await ended(await chat.actions.resume(chat.id, mine, SETTINGS))
        chat.script(*tokens("!"))
        third = await ended(await chat.actions.branch(chat.id, second.node, 0, 1, SETTINGS))
        assert (chat.path, chat.said_by(third.node)) == (["Hi", "mine other!"], [" other", "!"])

    async def test_no_such_alternative(self, chat: ScriptedChat) -> None:
        """A branch from an unknown token or alternative changes nothing."""
        first = await chat.say("Hi", "one")
        for index, alternative in ((1, 0), (0, 2), (-1, 0)):
            with pytest.raises(InvalidRequestError, match="no such alternative"):
                await chat.actions.branch(chat.id, first, index, alternative, SETTINGS)
        assert chat.texts == ["Hi", "one"]

    async def test_only_answers_are_continued(self, chat: ScriptedChat) -> None:
        """User messages and unknown messages cannot be resumed or branched."""
        answer = await chat.say("Hi", "one")
        question = chat.node(answer).parent
        assert question is not None
        for node in (question, 99):
            with pytest.raises(InvalidRequestError, match="no such answer"):
                await chat.actions.resume(chat.id, node, SETTINGS)
            with pytest.raises(InvalidRequestError, match="no such answer"):
                await chat.actions.branch(chat.id, node, 0, 1, SETTINGS)
        with pytest.raises(InvalidRequestError, match="no such message"):
            await chat.actions.retry(chat.id, 99, SETTINGS)
        with pytest.raises(InvalidRequestError, match="no such message"):
            await chat.actions.edit(chat.id, 99, "x", SETTINGS)


Verb = Callable[[ChatActions, str, int], Awaitable[Any]]

VERBS: dict[str, Verb] = {
    "send": lambda actions, at, node: actions.send(at, "x", SETTINGS),
    "retry": lambda actions, at, node: actions.retry(at, node, SETTINGS),
    "resume": lambda actions, at, node: actions.resume(at, node, SETTINGS),
    "branch": lambda actions, at, node: actions.branch(at, node, 0, 1, SETTINGS),
    "edit": lambda actions, at, node: actions.edit(at, node, "x", SETTINGS),
    "undo": lambda actions, at, node: actions.undo(at),
}

ALL_VERBS: dict[str, Verb] = VERBS | {
    "conversation": lambda actions, at, node: actions.conversation(at),
    "delete": lambda actions, at, node: actions.delete(at),
    "fork": lambda actions, at, node: actions.fork(at, SETTINGS, ContextLengthError(9, 8)),
    "select_version": lambda actions, at, node: actions.select_version(at, node),
    "batches": lambda actions, at, node: actions.batches(at, node),
    "stop": lambda actions, at, node: actions.stop(at, node),
}


class TestOnItsWay:
    @pytest.mark.parametrize("verb", VERBS)
    async def test_one_at_a_time(self, chat: ScriptedChat, verb: str) -> None:
        """While an answer is generated, no other action on the path is possible."""
        chat.script(*tokens("a"), None)
        turn = await chat.actions.send(chat.id, "Hi", SETTINGS)
        with pytest.raises(InvalidRequestError, match="being generated in this conversation: stop it"):
            await VERBS[verb](chat.actions, chat.id, turn.node)
        assert chat.actions.running(await chat.actions.conversation(chat.id)) is turn
        while turn.generated < 1:
            await asyncio.sleep(0)
        await turn.stop()
        chat.script(*tokens("b"))
        begun = await VERBS[verb](chat.actions, chat.id, turn.node)
        if isinstance(begun, Turn):
            await ended(begun)
        assert {"Hi", "a"} <= set(chat.texts)

    async def test_right_after_the_end(self, chat: ScriptedChat) -> None:
        """The next action can follow immediately after the reported end."""
        for number in range(5):
            await chat.say(str(number), "a")
        assert len(chat.path) == 10

    @pytest.mark.parametrize("verb", ["send", "retry"])
    async def test_two_at_once(self, chat: ScriptedChat, verb: str) -> None:
        """Only the first of two simultaneous requests is answered."""
        node = await chat.say("Hi", "a")
        chat.script(*tokens("b"), None)
        found = await asyncio.gather(
            *(VERBS[verb](chat.actions, chat.id, node) for _ in range(2)), return_exceptions=True
        )
        (turn,) = [one for one in found if isinstance(one, Turn)]
        assert [type(one) for one in found if one is not turn] == [InvalidRequestError]
        await turn.stop()
        assert len(chat.texts) == {"send": 4, "retry": 3}[verb]

    async def test_elsewhere_in_the_conversation(self, chat: ScriptedChat) -> None:
        """Versions can be continued while an answer is generated elsewhere in the tree."""
        first = await chat.say("Hi", "one")
        chat.script(*tokens("two"), None)
        turn = await chat.actions.retry(chat.id, first, SETTINGS)
        await chat.actions.select_version(chat.id, first)
        await chat.say("more", "three")
        with pytest.raises(InvalidRequestError, match="being generated"):
            await chat.actions.branch(chat.id, turn.node, 0, 1, SETTINGS)
        assert chat.path == ["Hi", "one", "more", "three"]
        assert chat.turns.find(turn.node) is turn
        await chat.actions.stop(chat.id, turn.node)
        assert turn.end is FinishReason.CANCELLED
        await chat.actions.select_version(chat.id, turn.node)
        assert chat.path == ["Hi", "two"]

    async def test_its_tokens(self, chat: ScriptedChat) -> None:
        """The tokens of a running answer are all tokens generated so far."""
        chat.script(*tokens("a", "b"), None)
        turn = await chat.actions.send(chat.id, "Hi", SETTINGS)
        async for _ in turn.updates():
            if turn.text:
                break
        assert [token.text for token in unpack(await chat.actions.batches(chat.id, turn.node))] == ["a", "b"]
        await turn.stop()
        assert [token.text for token in unpack(await chat.actions.batches(chat.id, turn.node))] == ["a", "b"]

    async def test_delete(self, chat: ScriptedChat) -> None:
        """A running answer ends without an error when the conversation is deleted."""
        chat.script(*tokens("a"), None)
        turn = await chat.actions.send(chat.id, "Hi", SETTINGS)
        await chat.actions.delete(chat.id)
        assert (turn.end, turn.error) == (FinishReason.CANCELLED, None)
        assert chat.store.list("ann") == []


class TestOwners:
    @pytest.mark.parametrize("verb", ALL_VERBS)
    async def test_another_owner(self, chat: ScriptedChat, verb: str) -> None:
        """No action reaches another owner's conversation, even during an answer."""
        chat.script(*tokens("secret"), None)
        turn = await chat.actions.send(chat.id, "Hi", SETTINGS)
        bob = ChatActions("bob", chat.store, chat.assistant, chat.turns)
        own = chat.store.create("bob", SETTINGS)
        with pytest.raises(NotFoundError, match="no such conversation"):
            await ALL_VERBS[verb](bob, chat.id, turn.node)
        if verb in ("select_version", "batches"):
            with pytest.raises(NotFoundError, match="no such message"):
                await ALL_VERBS[verb](bob, own, turn.node)
        await bob.stop(own, turn.node)
        assert turn.end is None
        await turn.stop()
        assert len(chat.texts) == 2

    def test_every_verb_is_among_them(self) -> None:
        """The tests above cover all actions."""
        assert {name for name in vars(ChatActions) if not name.startswith("_")} == {
            *ALL_VERBS,
            "running",
            "send_first",
            "batches_in",
        }


def test_messages() -> None:
    """A model reads the system prompt, the path, and the beginning of the answer."""
    path = [Node(1, None, USER, "q", 0.0), Node(2, 1, ASSISTANT, "a", 0.0), Node(3, 2, USER, "q2", 0.0)]
    messages = [Message(USER, "q"), Message(ASSISTANT, "a"), Message(USER, "q2")]
    assert messages_of(path, "", TurnSettings()) == messages
    assert messages_of(path, "So", TurnSettings(system="s")) == [
        Message("system", "s"),
        *messages,
        Message(ASSISTANT, "So"),
    ]
