"""Tests comparisons from a chat: stored answers, and new answers to the same messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.errors import PellucidError
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.message import Image, Message
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import ASSISTANT, SYSTEM, USER, Picture
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.routes.chat_comparison import ChatAnswers
from pellucid_webui.routes.compare import CompareRoute
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant, token, tokens
from support.scripted_answers import Item

SETTINGS = TurnSettings(model=MODEL, system="Be brief.", temperature=0.5, seed=7)

BEFORE = [Message(SYSTEM, "Be brief."), Message(USER, "Hello"), Message(ASSISTANT, "It is"), Message(USER, "Why?")]


@dataclass
class Chat:
    """A store with a conversation: two versions of an answer, a question, and a version by Ann."""

    store: ConversationStore
    assistant: ScriptedPageAssistant
    id: str = ""
    first: list[int] = field(default_factory=list)
    second: int = 0
    written: int = 0

    def fill(self) -> None:
        self.id = self.store.create("ann", SETTINGS, "Talk")
        hello = self._add(None, USER, "Hello")
        self.first = [self._answer(hello, " It", " was"), self._answer(hello, "It", " is")]
        why = self._add(self.first[1], USER, "Why?")
        self.second = self._answer(why, "Be", "cause")
        self.written = self._add(why, ASSISTANT, "My words", origin=self.second)

    def _add(self, parent: int | None, role: str, text: str, **more: Any) -> int:
        return self.store.add("ann", self.id, parent, role, text, end=FinishReason.STOP, **more)

    def _answer(self, parent: int, *parts: str) -> int:
        return self._add(
            parent, ASSISTANT, "".join(parts), settings=SETTINGS, model=MODEL, batches=[pack(tokens(*parts))]
        )

    @property
    def view(self) -> CompareRoute:
        return CompareRoute(shared(self.assistant), chats=ChatAnswers(self.store))

    async def form(self, *columns: dict[str, Any], owner: str = "ann") -> dict[str, Any]:
        """Return the form received by the page for these columns."""
        asked = {"verb": "chat", "tab": "1", "conversation": self.id, "columns": list(columns)}
        *_, shown = [shown async for shown in self.view.act(owner, asked)]
        found = shown["form"]
        assert isinstance(found, dict)
        return found

    async def compare(self, form: dict[str, Any], owner: str = "ann") -> dict[str, Any]:
        """Return the end of a comparison."""
        return [shown async for shown in self.view.act(owner, {"verb": "compare", "tab": "1", "form": form})][-1]


def reads(text: Any, model: str | None) -> list[Item]:
    """Score the last message as a single token."""
    return [token(text[-1].content)]


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    store = ConversationStore(tmp_path / "conversations.db")
    found = Chat(store, ScriptedPageAssistant([tokens("New")], reads=reads))
    found.fill()
    yield found
    store.close()


async def test_two_versions(chat: Chat) -> None:
    """Two stored answers are compared with tokens and settings, without new answers."""
    form = await chat.form(*({"answer": node} for node in chat.first))
    assert (form["prompt"], form["chat"]) == (
        "Hello",
        {"conversation": chat.id, "title": "Talk", "node": chat.first[0]},
    )
    assert [(one["answer"], one["temperature"], one["seed"]) for one in form["columns"]] == [
        (node, 0.5, 7) for node in chat.first
    ]
    last = await chat.compare(form)
    assert (chat.assistant.chats, chat.assistant.readings) == ([], []), (
        "one model with the same messages scores both the same"
    )
    assert [column["batches"] for column in last["columns"]] == [
        [pack(tokens(" It", " was"))],
        [pack(tokens("It", " is"))],
    ]
    assert last["columns"][0]["about"].startswith("stored answer, temperature 0.5")
    assert last["form"] == form
    assert last["summary"]["sentences"]


async def test_other_settings(chat: Chat) -> None:
    """A new temperature answers the same messages, with all other settings of the answer."""
    form = await chat.form({"answer": chat.second}, {"model": MODEL, "temperature": 0})
    assert [one.get("answer") for one in form["columns"]] == [chat.second, None]
    assert form["columns"][1] == {name: value for name, value in form["columns"][0].items() if name != "answer"} | {
        "temperature": 0
    }
    last = await chat.compare(form)
    (request,) = chat.assistant.chats
    assert request.query.messages == BEFORE
    assert (request.query.params.temperature, request.query.params.seed) == (0, 7)
    assert [column["batches"] for column in last["columns"]] == [[pack(tokens("Be", "cause"))], [pack(tokens("New"))]]


async def test_another_place(chat: Chat) -> None:
    """Answers to different messages are scored after the messages that they answered."""
    form = await chat.form({"answer": chat.first[0]}, {"answer": chat.second})
    await chat.compare(form)
    read = {tuple(request.query.text) for request in chat.assistant.readings}
    assert read == {(*BEFORE[:2], Message(ASSISTANT, "Because")), (*BEFORE, Message(ASSISTANT, " It was"))}


async def test_a_written_answer(chat: Chat) -> None:
    """An answer written by a person is scored by the model of the replaced version."""
    form = await chat.form({"answer": chat.written}, {"answer": chat.second})
    assert form["columns"][0]["model"] == MODEL
    last = await chat.compare(form)
    assert last["columns"][0]["batches"] == [pack([token("My words")])]
    assert last["columns"][0]["note"] == ""
    (request,) = chat.assistant.readings
    assert list(request.query.text) == [*BEFORE, Message(ASSISTANT, "My words")]


async def test_a_column_without_its_stored_answer(chat: Chat) -> None:
    """A column with changed settings answers the same messages, or the prompt alone."""
    form = await chat.form({"answer": chat.second}, {"answer": chat.written})
    first, second = form["columns"]
    del first["answer"]
    await chat.compare(form | {"columns": [first | {"temperature": 1}, second]})
    assert chat.assistant.chats[0].query.messages == BEFORE
    alone = {name: value for name, value in form.items() if name != "chat"}
    last = await chat.compare(alone)
    assert chat.assistant.chats[-1].query.messages == [BEFORE[0], Message(USER, "Why?")]
    assert "chat" not in last["form"]


async def test_what_cannot_be_compared(chat: Chat) -> None:
    """Foreign, missing, unfinished and broken answers are refused in a sentence."""
    one = {"answer": chat.second}
    with pytest.raises(PellucidError, match="conversation"):
        await chat.form(one, one, owner="eve")
    for other in (999, chat.second - 1, "2", None):
        with pytest.raises(PellucidError, match="The chat has no such answer any more: choose another one"):
            await chat.form(one, {"answer": other})
    running = chat.store.add("ann", chat.id, chat.second - 1, ASSISTANT, "So", settings=SETTINGS, model=MODEL)
    with pytest.raises(PellucidError, match="An answer that is incomplete cannot be compared"):
        await chat.form(one, {"answer": running})
    for columns in ([], [one], [one] * 5, [one, 3]):
        with pytest.raises(PellucidError, match="The page sent no valid answers of a chat: reload it"):
            await chat.form(*columns)
    with pytest.raises(PellucidError, match="no valid model and temperature"):
        await chat.form(one, {"model": 3, "temperature": 0})


async def test_a_chat_that_was_deleted(chat: Chat) -> None:
    """A comparison with a deleted or foreign conversation is refused."""
    form = await chat.form({"answer": chat.first[0]}, {"answer": chat.first[1]})
    assert (await chat.compare(form, owner="eve"))["wrong"]
    chat.store.delete("ann", chat.id)
    last = await chat.compare(form)
    assert last["wrong"]
    assert "conversation" in last["status"]


async def test_without_pictures(chat: Chat) -> None:
    """An answer is read once with and once without the pictures of the chat."""
    picture = Picture("a.png", "data:image/png;base64,YQ==")
    asked = chat.store.add("ann", chat.id, None, USER, "What?", end=FinishReason.STOP, pictures=[picture])
    answer = chat._answer(asked, "A", " cat")
    form = await chat.form({"answer": answer}, {"answer": answer, "pictures": False})
    last = await chat.compare(form)
    texts = [reading.query.text for reading in chat.assistant.readings]
    images = [[message.images for message in text if isinstance(message, Message)] for text in texts]
    assert images == [[(), (Image(0, picture.url),), ()], [(), (), ()]]
    assert [column["about"] for column in last["columns"]] == ["reads the text", "reads the text, without pictures"]
    assert last["summary"]["sentences"] == ["The answer is equally likely with the pictures (A) and without (B)."]
    assert last["form"] == form
