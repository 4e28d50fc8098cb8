"""What can be done in a conversation: every verb makes another version, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import InvalidRequestError, NotFoundError, UnavailableError
from pellucid.tokens import Finish, FinishReason, Message, ModelCard, Usage
from pellucid_webui.conversations.chat_actions import SEEDS, ChatActions, messages_of
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.conversations.conversation import ASSISTANT, USER, Node, TurnSettings
from pellucid_webui.conversations.store import TITLE, ConversationStore
from pellucid_webui.conversations.turn import Turn, Turns
from support.page.scripted_assistant import MODEL, Item, ScriptedPageAssistant, token, tokens

SETTINGS = TurnSettings(model=MODEL, seed=1)


class Desk:
    """Ann's chat with a scripted speaker, and one conversation."""

    def __init__(self, store: ConversationStore) -> None:
        self.store = store
        self.speaker = ScriptedPageAssistant()
        self.turns = Turns()
        self.chat = ChatActions("ann", store, self.speaker, self.turns)
        self.id = store.create("ann", SETTINGS)

    def script(self, *script: Item) -> None:
        self.speaker.scripts = [script]

    async def say(self, text: str, *answer: str, settings: TurnSettings = SETTINGS) -> int:
        """Say something and have it answered with these tokens; the answer's node."""
        self.script(*tokens(*answer))
        return (await ended(await self.chat.send(self.id, text, settings))).node

    @property
    def path(self) -> list[str]:
        return [node.text for node in self.store.conversation("ann", self.id).path()]

    @property
    def texts(self) -> list[str]:
        """All that was ever said, in its order."""
        return [node.text for node in self.store.conversation("ann", self.id).nodes.values()]

    def node(self, id: int) -> Node:
        return self.store.conversation("ann", self.id).nodes[id]

    def said_by(self, node: int) -> list[str]:
        return [token.text for token in unpack(self.store.tokens("ann", self.id, node))]

    @property
    def asked(self) -> list[tuple[str, str]]:
        """What the speaker was asked last."""
        return [(message.role, message.content) for message in self.speaker.asked[-1].messages]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        yield Desk(store)


async def ended(turn: Turn) -> Turn:
    async for _ in turn.updates():
        pass
    return turn


class TestSend:
    async def test_an_answer(self, desk: Desk) -> None:
        """What is said is answered, below it, and the settings of the answer are kept with it."""
        answer = await desk.say("Hi", "Hel", "lo")
        await desk.say("More?", "Yes")

        assert desk.path == ["Hi", "Hello", "More?", "Yes"]
        assert desk.asked == [(USER, "Hi"), (ASSISTANT, "Hello"), (USER, "More?")]
        found = desk.node(answer)
        assert (found.role, found.model, found.settings, found.end, found.origin) == (ASSISTANT, MODEL, SETTINGS, FinishReason.STOP, None)
        assert not desk.speaker.asked[-1].continue_last

    async def test_the_system_prompt(self, desk: Desk) -> None:
        """The system prompt of the settings is in front, unless it is empty."""
        await desk.say("Hi", "a", settings=TurnSettings(model=MODEL, system="Be brief."))
        assert desk.asked == [("system", "Be brief."), (USER, "Hi")]
        await desk.say("Hi", "a", settings=TurnSettings(model=MODEL, system="  "))
        assert desk.asked[0] == (USER, "Hi")

    async def test_an_answer_can_be_had_again(self, desk: Desk) -> None:
        """Without a model or a seed the first model is taken and a seed is drawn; the answer is kept with both."""
        answer = await desk.say("Hi", "a", settings=TurnSettings())
        settings = desk.node(answer).settings
        assert settings is not None
        assert settings.model == desk.node(answer).model == desk.speaker.asked[-1].model == MODEL
        assert settings.seed is not None
        assert 0 <= settings.seed < SEEDS
        assert desk.speaker.asked[-1].params.seed == settings.seed

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
    async def test_it_names_the_conversation(self, desk: Desk, text: str, title: str) -> None:
        """The first line of the first message names a conversation, which stays so."""
        await desk.say(text, "a")
        await desk.say("another", "b")
        assert desk.store.list("ann")[0].title == title

    async def test_a_name_that_was_given_stays(self, desk: Desk) -> None:
        """A conversation that has a name keeps it."""
        desk.store.rename("ann", desk.id, "Mine")
        await desk.say("Hi", "a")
        assert desk.store.list("ann")[0].title == "Mine"

    async def test_nothing(self, desk: Desk) -> None:
        """Nothing is no message."""
        with pytest.raises(InvalidRequestError, match="nothing to send"):
            await desk.chat.send(desk.id, " \n", SETTINGS)
        assert desk.texts == []

    async def test_what_cannot_be_answered_is_not_kept(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """With settings out of bounds, or without a server, nothing is kept: the text is still in the field."""
        with pytest.raises(InvalidRequestError, match="top_p must be"):
            await desk.chat.send(desk.id, "Hi", TurnSettings(top_p=5))

        async def nobody() -> list[ModelCard]:
            raise UnavailableError("No server answers.")

        monkeypatch.setattr(desk.speaker, "cards", nobody)
        with pytest.raises(UnavailableError):
            await desk.chat.send(desk.id, "Hi", TurnSettings())
        assert (desk.texts, desk.store.list("ann")[0].title) == ([], TITLE)


class TestVersions:
    async def test_retry(self, desk: Desk) -> None:
        """A retry is another version of an answer, made from the same messages."""
        first = await desk.say("Hi", "one")
        desk.script(*tokens("two"))
        second = await ended(await desk.chat.retry(desk.id, first, SETTINGS))

        assert desk.path == ["Hi", "two"]
        assert desk.asked == [(USER, "Hi")]
        assert (desk.node(second.node).origin, desk.node(second.node).parent) == (first, desk.node(first).parent)
        await desk.chat.walk(desk.id, first)
        assert desk.path == ["Hi", "one"]

    async def test_retry_of_an_older_answer(self, desk: Desk) -> None:
        """What followed the older version is kept below it."""
        first = await desk.say("Hi", "one")
        await desk.say("more", "three")
        desk.script(*tokens("two"))
        await ended(await desk.chat.retry(desk.id, first, SETTINGS))
        assert (desk.path, desk.asked) == (["Hi", "two"], [(USER, "Hi")])
        await desk.chat.walk(desk.id, first)
        assert desk.path == ["Hi", "one", "more", "three"]

    async def test_retry_of_a_question(self, desk: Desk) -> None:
        """A message that has no answer, since the server died, gets one."""
        said = desk.store.add("ann", desk.id, None, USER, "Hi")
        desk.script(*tokens("one"))
        await ended(await desk.chat.retry(desk.id, said, SETTINGS))
        assert desk.path == ["Hi", "one"]

    async def test_edit_what_the_user_said(self, desk: Desk) -> None:
        """What the user says otherwise is another version of it, and answered anew."""
        answer = await desk.say("Hi", "one")
        asked = desk.node(answer).parent
        assert asked is not None
        desk.script(*tokens("two"))
        turn = await desk.chat.edit(desk.id, asked, "Ho", SETTINGS)
        assert turn is not None
        await ended(turn)

        assert (desk.path, desk.asked) == (["Ho", "two"], [(USER, "Ho")])
        assert desk.node(desk.node(turn.node).parent or 0).origin == asked
        await desk.chat.walk(desk.id, asked)
        assert desk.path == ["Hi", "one"]

    async def test_edit_an_answer(self, desk: Desk) -> None:
        """An answer that is written otherwise is a version by a person: it has no tokens, and nobody is asked; no server is needed."""
        answer = await desk.say("Hi", "one")
        assert await desk.chat.edit(desk.id, answer, "mine", TurnSettings(top_p=9)) is None

        assert desk.path == ["Hi", "mine"]
        (mine,) = [node for node in desk.store.conversation("ann", desk.id).nodes.values() if node.text == "mine"]
        assert (mine.origin, mine.settings, mine.model, mine.end) == (answer, None, MODEL, FinishReason.STOP)
        assert (desk.said_by(mine.id), len(desk.speaker.asked)) == ([], 1)

    async def test_edit_to_nothing(self, desk: Desk) -> None:
        """A message cannot be edited away."""
        answer = await desk.say("Hi", "one")
        with pytest.raises(InvalidRequestError, match="nothing left of the message"):
            await desk.chat.edit(desk.id, answer, " ", SETTINGS)

    async def test_undo(self, desk: Desk) -> None:
        """An undo goes back to before the last question, and gives it; both can be walked to, and the next message is another version."""
        await desk.say("Hi", "one")
        second = await desk.say("more", "two")

        assert await desk.chat.undo(desk.id) == "more"
        assert desk.path == ["Hi", "one"]
        await desk.say("else", "three")
        assert desk.path == ["Hi", "one", "else", "three"]
        await desk.chat.walk(desk.id, second)
        assert desk.path == ["Hi", "one", "more", "two"]

    async def test_undo_everything(self, desk: Desk) -> None:
        """The first question can be undone as well, and then there is nothing to undo; what is said next is a version of it."""
        await desk.say("Hi", "one")
        assert (await desk.chat.undo(desk.id), desk.path) == ("Hi", [])
        with pytest.raises(InvalidRequestError, match="nothing to undo"):
            await desk.chat.undo(desk.id)
        await desk.say("Ho", "two")
        conversation = desk.store.conversation("ann", desk.id)
        assert (desk.path, len(conversation.children(None))) == (["Ho", "two"], 2)


class TestGoingOn:
    async def test_resume(self, desk: Desk) -> None:
        """An answer is gone on with in another version, which has all tokens; the shorter one stays."""
        first = await desk.say("Hi", "one", " two")
        desk.script(*tokens(" three"))
        turn = await ended(await desk.chat.resume(desk.id, first, SETTINGS))

        assert desk.path == ["Hi", "one two three"]
        assert desk.asked == [(USER, "Hi"), (ASSISTANT, "one two")]
        assert desk.speaker.asked[-1].continue_last
        assert desk.said_by(turn.node) == ["one", " two", " three"]
        assert (desk.node(turn.node).origin, desk.node(first).text) == (first, "one two")

    async def test_resume_of_nothing(self, desk: Desk) -> None:
        """An answer that failed before its first word begins anew."""
        desk.script(UnavailableError("No."))
        failed = await ended(await desk.chat.send(desk.id, "Hi", SETTINGS))
        desk.script(*tokens("one"))
        await ended(await desk.chat.resume(desk.id, failed.node, SETTINGS))
        assert (desk.path, desk.asked, desk.speaker.asked[-1].continue_last) == (["Hi", "one"], [(USER, "Hi")], False)

    async def test_resume_of_half_a_character(self, desk: Desk) -> None:
        """An answer that ended inside a character is gone on with from before it."""
        desk.script(*tokens("a"), token("b\ufffd", 2, data=b"b\xf0\x9f"), Finish(FinishReason.LENGTH, Usage()))
        first = await ended(await desk.chat.send(desk.id, "Hi", SETTINGS))
        desk.script(*tokens("c"))
        turn = await ended(await desk.chat.resume(desk.id, first.node, SETTINGS))
        assert (desk.path, desk.asked[-1], desk.said_by(turn.node)) == (["Hi", "ac"], (ASSISTANT, "a"), ["a", "c"])
        assert "Hi" in desk.texts
        assert "ab\ufffd" in desk.texts

    async def test_branch(self, desk: Desk) -> None:
        """An answer takes another alternative at a token and goes on from it; the tokens in front of it are kept as they were."""
        first = await desk.say("Hi", "one", " two", " three")
        desk.script(*tokens(" and more"))
        turn = await ended(await desk.chat.branch(desk.id, first, 1, 1, SETTINGS))

        assert desk.path == ["Hi", "one other and more"]
        assert desk.asked[-1] == (ASSISTANT, "one other")
        assert desk.speaker.asked[-1].continue_last
        assert desk.said_by(turn.node) == ["one", " other", " and more"]
        assert (desk.node(turn.node).origin, desk.node(turn.node).branched) == (first, 1)
        await desk.chat.walk(desk.id, first)
        assert desk.path == ["Hi", "one two three"]

    async def test_branch_of_a_branch(self, desk: Desk) -> None:
        """Alternatives of a branch can be taken as well, those of the token that was put in among them."""
        first = await desk.say("Hi", "one", " two")
        desk.script(*tokens(" x"))
        second = await ended(await desk.chat.branch(desk.id, first, 1, 1, SETTINGS))
        desk.script(*tokens(" y"))
        await ended(await desk.chat.branch(desk.id, second.node, 1, 0, SETTINGS))
        assert desk.path == ["Hi", "one two y"]

    async def test_branch_behind_what_a_person_wrote(self, desk: Desk) -> None:
        """Where a person wrote the beginning of an answer, it stays in front."""
        first = await desk.say("Hi", "one")
        await desk.chat.edit(desk.id, first, "mine", SETTINGS)
        (mine,) = [id for id, node in desk.store.conversation("ann", desk.id).nodes.items() if node.text == "mine"]
        desk.script(*tokens(" two", " three"))
        second = await ended(await desk.chat.resume(desk.id, mine, SETTINGS))
        desk.script(*tokens("!"))
        third = await ended(await desk.chat.branch(desk.id, second.node, 0, 1, SETTINGS))
        assert (desk.path, desk.said_by(third.node)) == (["Hi", "mine other!"], [" other", "!"])

    async def test_no_such_alternative(self, desk: Desk) -> None:
        """A branch from what is not there changes nothing."""
        first = await desk.say("Hi", "one")
        for index, alternative in ((1, 0), (0, 2), (-1, 0)):
            with pytest.raises(InvalidRequestError, match="no such alternative"):
                await desk.chat.branch(desk.id, first, index, alternative, SETTINGS)
        assert desk.texts == ["Hi", "one"]

    async def test_only_answers_are_gone_on_with(self, desk: Desk) -> None:
        """What the user said cannot be resumed or branched, and nothing can that is not there."""
        answer = await desk.say("Hi", "one")
        asked = desk.node(answer).parent
        assert asked is not None
        for node in (asked, 99):
            with pytest.raises(InvalidRequestError, match="no such answer"):
                await desk.chat.resume(desk.id, node, SETTINGS)
            with pytest.raises(InvalidRequestError, match="no such answer"):
                await desk.chat.branch(desk.id, node, 0, 1, SETTINGS)
        with pytest.raises(InvalidRequestError, match="no such message"):
            await desk.chat.retry(desk.id, 99, SETTINGS)
        with pytest.raises(InvalidRequestError, match="no such message"):
            await desk.chat.edit(desk.id, 99, "x", SETTINGS)


Verb = Callable[[ChatActions, str, int], Awaitable[Any]]

VERBS: dict[str, Verb] = {
    "send": lambda chat, at, node: chat.send(at, "x", SETTINGS),
    "retry": lambda chat, at, node: chat.retry(at, node, SETTINGS),
    "resume": lambda chat, at, node: chat.resume(at, node, SETTINGS),
    "branch": lambda chat, at, node: chat.branch(at, node, 0, 1, SETTINGS),
    "edit": lambda chat, at, node: chat.edit(at, node, "x", SETTINGS),
    "undo": lambda chat, at, node: chat.undo(at),
}

ALL_VERBS: dict[str, Verb] = VERBS | {
    "conversation": lambda chat, at, node: chat.conversation(at),
    "delete": lambda chat, at, node: chat.delete(at),
    "walk": lambda chat, at, node: chat.walk(at, node),
    "batches": lambda chat, at, node: chat.batches(at, node),
    "stop": lambda chat, at, node: chat.stop(at, node),
}


class TestOnItsWay:
    @pytest.mark.parametrize("verb", VERBS)
    async def test_one_at_a_time(self, desk: Desk, verb: str) -> None:
        """While an answer is on its way nothing else begins or is undone at its place; after it, or after a stop, it may."""
        desk.script(*tokens("a"), None)
        turn = await desk.chat.send(desk.id, "Hi", SETTINGS)
        with pytest.raises(InvalidRequestError, match="on its way in this conversation: stop it first"):
            await VERBS[verb](desk.chat, desk.id, turn.node)
        assert desk.chat.running(await desk.chat.conversation(desk.id)) is turn
        while turn.said < 1:
            await asyncio.sleep(0)
        await turn.stop()
        desk.script(*tokens("b"))
        begun = await VERBS[verb](desk.chat, desk.id, turn.node)
        if isinstance(begun, Turn):
            await ended(begun)
        assert {"Hi", "a"} <= set(desk.texts)

    async def test_right_after_the_end(self, desk: Desk) -> None:
        """Whoever was told of the end may go on at once."""
        for number in range(5):
            await desk.say(str(number), "a")
        assert len(desk.path) == 10

    @pytest.mark.parametrize("verb", ["send", "retry"])
    async def test_two_at_once(self, desk: Desk, verb: str) -> None:
        """Of two who ask at the same moment one is answered."""
        node = await desk.say("Hi", "a")
        desk.script(*tokens("b"), None)
        found = await asyncio.gather(*(VERBS[verb](desk.chat, desk.id, node) for _ in range(2)), return_exceptions=True)
        (turn,) = [one for one in found if isinstance(one, Turn)]
        assert [type(one) for one in found if one is not turn] == [InvalidRequestError]
        await turn.stop()
        assert len(desk.texts) == {"send": 4, "retry": 3}[verb]

    async def test_elsewhere_in_the_conversation(self, desk: Desk) -> None:
        """Whoever walks to another version may go on there, while the answer goes on where it is; it is not branched meanwhile."""
        first = await desk.say("Hi", "one")
        desk.script(*tokens("two"), None)
        turn = await desk.chat.retry(desk.id, first, SETTINGS)
        await desk.chat.walk(desk.id, first)
        await desk.say("more", "three")
        with pytest.raises(InvalidRequestError, match="on its way"):
            await desk.chat.branch(desk.id, turn.node, 0, 1, SETTINGS)

        assert desk.path == ["Hi", "one", "more", "three"]
        assert desk.turns.find(turn.node) is turn
        await desk.chat.stop(desk.id, turn.node)
        assert turn.end is FinishReason.CANCELLED
        await desk.chat.walk(desk.id, turn.node)
        assert desk.path == ["Hi", "two"]

    async def test_its_tokens(self, desk: Desk) -> None:
        """The tokens of an answer on its way are those that have come."""
        desk.script(*tokens("a", "b"), None)
        turn = await desk.chat.send(desk.id, "Hi", SETTINGS)
        async for _ in turn.updates():
            if turn.text:
                break
        assert [token.text for token in unpack(await desk.chat.batches(desk.id, turn.node))] == ["a", "b"]
        await turn.stop()
        assert [token.text for token in unpack(await desk.chat.batches(desk.id, turn.node))] == ["a", "b"]

    async def test_delete(self, desk: Desk) -> None:
        """An answer on its way ends when its conversation is deleted, and tells of no error."""
        desk.script(*tokens("a"), None)
        turn = await desk.chat.send(desk.id, "Hi", SETTINGS)
        await desk.chat.delete(desk.id)
        assert (turn.end, turn.error) == (FinishReason.CANCELLED, None)
        assert desk.store.list("ann") == []


class TestOwners:
    @pytest.mark.parametrize("verb", ALL_VERBS)
    async def test_another_owner(self, desk: Desk, verb: str) -> None:
        """Nobody reaches another's conversation by any verb, also while an answer is on its way there."""
        desk.script(*tokens("secret"), None)
        turn = await desk.chat.send(desk.id, "Hi", SETTINGS)
        bob = ChatActions("bob", desk.store, desk.speaker, desk.turns)
        own = desk.store.create("bob", SETTINGS)

        with pytest.raises(NotFoundError, match="no such conversation"):
            await ALL_VERBS[verb](bob, desk.id, turn.node)
        if verb in ("walk", "batches"):
            with pytest.raises(NotFoundError, match="no such message"):
                await ALL_VERBS[verb](bob, own, turn.node)
        await bob.stop(own, turn.node)
        assert turn.end is None

        await turn.stop()
        assert len(desk.texts) == 2

    def test_every_verb_is_among_them(self) -> None:
        """No verb of the chat is forgotten here."""
        assert {name for name in vars(ChatActions) if not name.startswith("_")} == {*ALL_VERBS, "running"}


def test_messages() -> None:
    """A model reads the system prompt, the path, and the beginning of the answer if it has one."""
    path = [Node(1, None, USER, "q", 0.0), Node(2, 1, ASSISTANT, "a", 0.0), Node(3, 2, USER, "q2", 0.0)]
    said = [Message(USER, "q"), Message(ASSISTANT, "a"), Message(USER, "q2")]
    assert messages_of(path, "", TurnSettings()) == said
    assert messages_of(path, "So", TurnSettings(system="s")) == [Message("system", "s"), *said, Message(ASSISTANT, "So")]
