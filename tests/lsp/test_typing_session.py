"""During real typing, no reply is stale, no position is wrong, and no request remains."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httpx
import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcRequestCancelled

from support.editors import lsp_client
from support.editors.lsp_client import Editor, id_of, until
from support.trial_counts import IS_TRIAL

pytestmark = pytest.mark.model

URI = "file:///project/session.py"
SEED = 20261125
KEYSTROKES, SUGGESTED, ACCEPTED = (120, 8, 2) if IS_TRIAL else (30, 3, 1)
"""Minimum numbers for a session; the suggestions depend on the machine's speed."""

MOST_KEYSTROKES = 3_000
PAUSES = (0.03, 0.03, 0.3)
"""Maximum pauses between keystrokes in seconds: shorter than a person's pauses, so that requests
overlap.
"""

START = '''"""Prices, with 😀 in them."""

NAMES = {"😀": "smile", "🧮": "ex"}


def total(prices):
    """Add prices up: 😀😀."""
    result = 0


def names():
    return list(NAMES)
'''
TYPED = (
    "\n    for price in prices:\n        result += price\n    return result  # 😀",
    '\n\n\ndef smile(text):\n    return text + "😀🧮" + text.strip()\n',
)


@dataclass
class Document:
    """The editor's text and cursor."""

    text: str
    cursor: int

    @property
    def position(self) -> types.Position:
        """The cursor in UTF-16 code units."""
        return self.position_at(self.cursor)

    def position_at(self, offset: int) -> types.Position:
        line_start = self.text.rfind("\n", 0, offset) + 1
        return types.Position(
            self.text.count("\n", 0, offset), len(self.text[line_start:offset].encode("utf-16-le")) // 2
        )

    def insert(self, editor: Editor, text: str) -> None:
        at = self.position
        editor.insert(URI, at.line, at.character, text)
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)

    def backspace(self, editor: Editor) -> None:
        range = types.Range(self.position_at(self.cursor - 1), self.position)
        editor.replace(URI, range, "")
        self.text = self.text[: self.cursor - 1] + self.text[self.cursor :]
        self.cursor -= 1


@dataclass
class Asked:
    """A request, and the document at the time of the request."""

    number: int
    before: str
    position: types.Position
    answer: asyncio.Future[Any]
    cancelled: bool = False
    items: list[Any] = field(default_factory=list)
    answered_after: int | None = None
    """Number of the newest request answered before this request."""


@dataclass
class Session:
    """A typing person, and the answers to the editor."""

    editor: Editor
    document: Document
    chance: random.Random
    asked: list[Asked] = field(default_factory=list)
    newest_answer: int = -1
    keystrokes: int = 0
    accepted: int = 0

    @property
    def suggested(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.items]

    @property
    def is_long_enough(self) -> bool:
        return self.keystrokes >= KEYSTROKES and len(self.suggested) >= SUGGESTED and self.accepted >= ACCEPTED

    async def keystroke(self) -> None:
        """Send a request as editors do, half of the time after cancelling the last, and pause."""
        self.keystrokes += 1
        last = self.asked[-1] if self.asked else None
        if last is not None and not last.answer.done() and self.chance.random() < 0.5:
            last.cancelled = True
            self.editor.client.cancel_request(types.CancelParams(f"r{last.number}"))
        self.ask()
        await asyncio.sleep(self.chance.random() * self.chance.choice(PAUSES))

    def ask(self) -> Asked:
        number, at = len(self.asked), self.document.position
        params = types.InlineCompletionParams(
            types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic),
            types.TextDocumentIdentifier(URI),
            at,
        )
        send = self.editor.client.protocol.send_request
        answer = asyncio.wrap_future(send(types.TEXT_DOCUMENT_INLINE_COMPLETION, params, msg_id=f"r{number}"))
        asked = Asked(number, self.document.text[: self.document.cursor], at, answer)
        answer.add_done_callback(lambda done: self.note(asked, done))
        self.asked.append(asked)
        return asked

    def note(self, asked: Asked, done: asyncio.Future[Any]) -> None:
        asked.answered_after = self.newest_answer
        self.newest_answer = max(self.newest_answer, asked.number)
        if done.exception() is None:
            asked.items = list(done.result().items)

    async def look(self) -> Asked:
        """Return the suggestion at the cursor."""
        last = self.asked[-1] if self.asked and not self.asked[-1].cancelled else self.ask()
        await asyncio.wait_for(asyncio.wait([last.answer]), lsp_client.LIMIT_SECONDS)
        return last

    async def accept(self) -> None:
        """Wait for a suggestion at the cursor, and accept any suggestion."""
        last = await self.look()
        if last.items:
            self.accepted += 1
            self.document.insert(self.editor, str(last.items[0].insert_text))
            await self.editor.command("pellucid.accepted", id_of(last.items[0]))
            await self.keystroke()


def keys(chance: random.Random) -> Iterator[str]:
    """Yield characters with corrected typos, and sometimes a look at or an acceptance of text."""
    for text in cycle(TYPED):
        for character in text:
            if chance.random() < 0.08:
                yield from (chance.choice("xq😀"), "backspace")
            if chance.random() < 0.12:
                yield chance.choice(("look", "look", "accept"))
            yield character
        yield "jump"


async def test_typing(served_model: str, editor_homes: None) -> None:
    """Each suggestion fits the text of the request, and no old answer follows a newer answer."""
    settings = {"server": {"url": served_model, "start": False}, "completion": {"level": "eager"}}
    editor = await lsp_client.start_here(settings)
    editor.open(URI, START)
    chance = random.Random(SEED)
    session = Session(editor, Document(START, START.index("    result = 0") + len("    result = 0")), chance)
    for key in keys(chance):
        await press(session, key)
        if session.is_long_enough:
            break
        assert session.keystrokes < MOST_KEYSTROKES, f"{len(session.suggested)} suggestions, {session.accepted} taken"
    await asyncio.wait_for(asyncio.wait([asked.answer for asked in session.asked]), lsp_client.LIMIT_SECONDS)

    await check_answers(session)
    assert editor.messages == []
    scored = {
        "start": {"line": 0, "character": 0},
        "end": vars_of(session.document.position_at(len(session.document.text))),
    }
    read = await editor.request("pellucid/score", {"textDocument": {"uri": URI}, "range": scored, "topLogprobs": 0})
    # The server has the editor's text.
    assert "".join(token.token for token in read.tokens) == session.document.text
    await editor.leave()
    await until(lambda: is_idle(served_model))


async def press(session: Session, key: str) -> None:
    document = session.document
    if key == "accept":
        await session.accept()
    elif key == "look":
        await session.look()
    elif key == "jump":
        document.cursor = document.text.index("\n", session.chance.randrange(len(document.text) // 2))
        await session.keystroke()
    elif key == "backspace":
        document.backspace(session.editor)
        await session.keystroke()
    else:
        document.insert(session.editor, key)
        await session.keystroke()


async def check_answers(session: Session) -> None:
    for asked in session.asked:
        error = asked.answer.exception()
        assert error is None or (asked.cancelled and isinstance(error, JsonRpcRequestCancelled))
    for asked in session.suggested:
        assert asked.answered_after is not None
        assert asked.answered_after < asked.number, "a suggestion came after the answer to a newer request"
        (item,) = asked.items
        assert item.range == types.Range(asked.position, asked.position)
    for asked in session.suggested[-50:]:  # The server remembers at least these suggestions.
        explained = await session.editor.request("pellucid/explain", {"id": id_of(asked.items[0])})
        assert explained is not None
        assert (explained.position.line, explained.position.character) == (
            asked.position.line,
            asked.position.character,
        )
        assert explained.shown == asked.items[0].insert_text
        if explained.source == "model":
            assert asked.before.endswith(explained.prompt.prefix[-200:])


def vars_of(position: types.Position) -> dict[str, int]:
    return {"line": position.line, "character": position.character}


def is_idle(address: str) -> bool:
    """Return whether the model server runs and queues no sequences, by counters and slots."""
    reply = httpx.get(f"{address}/slots", timeout=60)
    slots = [] if reply.status_code == httpx.codes.NOT_IMPLEMENTED else reply.json()
    counters = [
        line
        for line in httpx.get(f"{address}/metrics", timeout=60).text.splitlines()
        if line.startswith(("pellucid_running", "pellucid_waiting"))
    ]
    assert counters
    return not any(slot["is_processing"] for slot in slots) and all(line.endswith(" 0.0") for line in counters)
