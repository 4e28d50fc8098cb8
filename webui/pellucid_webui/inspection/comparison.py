"""Comparison of two to four columns that answer a prompt and score the answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import PellucidError, QueueFullError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import ASSISTANT, SYSTEM, USER
from pellucid_webui.conversations.turn_settings import ALTERNATIVES, TurnSettings
from pellucid_webui.inspection.alignment import last_occurrence
from pellucid_webui.inspection.scoring import require_complete, score

logger = logging.getLogger(__name__)

LETTERS = "ABCD"
"""The names of the columns."""

TICK_SECONDS = 0.1

UNEXPECTED = "Internal server error; see the server log."

REFERENCE = "the reference"

Reader = tuple[str, str, tuple[Message, ...] | None]
"""Model, system prompt and messages, which determine a text's score."""

_NUMBERS = count(int(1000 * time.time()))
"""Numbers keep rising after a restart: the page ignores older comparisons."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A chat's answer, shown by a column; without ``tokens``, the model reads the text."""

    node: int
    text: str
    tokens: Sequence[Token] = ()


@dataclass(frozen=True, slots=True)
class ChatSource:
    """A chat; columns answer the same message as the answer ``node``."""

    conversation: str
    title: str
    node: int


@dataclass(eq=False)
class Column:
    """Settings and answer; ``conversation`` is set if there is more than the prompt.

    Without ``pictures``, the messages of a chat are read without their pictures.
    """

    letter: str
    settings: TurnSettings
    conversation: tuple[Message, ...] | None = None
    pictures: bool = True
    stored: StoredAnswer | None = None
    tokens: list[Token] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    usage: Usage | None = None
    end: FinishReason | None = None
    error: str | None = None
    took: float | None = None
    _packed: int = 0

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    @property
    def reader(self) -> Reader:
        """The model and the messages before an answer; equal readers score alike."""
        return self.settings.model, self.settings.system, self.conversation

    def pack(self) -> None:
        fresh = self.tokens[self._packed :]
        if fresh:
            self.batches.append(pack(fresh))
            self._packed += len(fresh)

    def messages(self, prompt: str, history: Sequence[Message] = ()) -> list[Message]:
        """Return the messages to answer; the column's system prompt takes precedence."""
        if self.conversation is not None:
            return list(self.conversation)
        if self.settings.system.strip():
            history = [Message(SYSTEM, self.settings.system), *(one for one in history if one.role != SYSTEM)]
        return [*history, Message(USER, prompt)]


@dataclass(eq=False)
class ComparedText:
    """A text, and its tokens by column index."""

    name: str
    text: str
    tokens: dict[int, list[Token]] = field(default_factory=dict)


TOKEN_CHARACTERS = 4
"""A short token, so that texts without tokens count too."""


@dataclass(eq=False)
class Comparison:
    """A comparison of columns, and the progress.

    ``texts`` has the answers, then the reference, if any. Without a prompt, the columns read the
    reference instead of answering; if ``rereads``, the columns read the same answer of a chat.
    ``refused`` is set if too many requests were running.
    """

    prompt: str
    reference: str
    columns: list[Column]
    history: Sequence[Message] = ()
    chat: ChatSource | None = None
    rereads: bool = False
    number: int = field(default_factory=lambda: next(_NUMBERS))
    status: str = ""
    stopped: bool = False
    ended: bool = False
    refused: QueueFullError | None = None
    texts: list[ComparedText] = field(default_factory=list)
    _tasks: Sequence[asyncio.Task[None]] = ()

    def __post_init__(self) -> None:
        if self.reads_only:
            for column in self.columns:
                column.stored = StoredAnswer(0, self.reference)

    @property
    def reads_only(self) -> bool:
        """True if the columns read the same text, and answer nothing."""
        return self.rereads or (not self.prompt.strip() and self.chat is None and not self.history)

    @property
    def size(self) -> int:
        """The memory that the comparison takes, in tokens."""
        read = sum(len(one) for text in self.texts for one in text.tokens.values())
        asked = [self.prompt, self.reference, *(column.settings.system for column in self.columns)]
        return sum(len(column.tokens) for column in self.columns) + read + sum(map(len, asked)) // TOKEN_CHARACTERS + 1

    @property
    def same_reader(self) -> bool:
        """True if all columns have the same model, system prompt and conversation."""
        return len({column.reader for column in self.columns}) == 1

    @property
    def same_temperature(self) -> bool:
        return len({column.settings.temperature for column in self.columns}) == 1

    def stop(self) -> None:
        self.stopped = self.stopped or not self.ended
        for task in self._tasks:
            task.cancel()

    async def run(self, assistant: Assistant) -> AsyncGenerator[None]:
        """Let all columns answer, then score; yield for possible updates."""
        try:
            self.status = "Reading the text…" if self.reads_only else "Generating the answers…"
            async with aclosing(self._until([self._answer(assistant, column) for column in self.columns])) as ticks:
                async for tick in ticks:
                    yield tick
            self.texts = self._texts_so_far()
            if not self.stopped and not self.reads_only:
                self.status = "Scoring each answer with the other columns…"
                async with aclosing(self._until(list(self._scorings(assistant)))) as ticks:
                    async for tick in ticks:
                        yield tick
        finally:
            self.texts = self.texts or self._texts_so_far()  # For a generator that was closed early.
            self.stopped = self.stopped or any(task.cancelled() for task in self._tasks)
            self.ended = True
            self.status = ""

    def _texts_so_far(self) -> list[ComparedText]:
        read = {at: column.tokens for at, column in enumerate(self.columns) if self.reads_only and column.tokens}
        texts = [
            ComparedText(column.letter, column.text, read | {at: column.tokens})
            for at, column in enumerate(self.columns)
        ]
        if self.reference.strip() and not self.reads_only:
            texts.append(ComparedText(REFERENCE, self.reference))
        return texts

    async def _until(self, works: Sequence[Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
        self._tasks = [asyncio.create_task(work) for work in works]
        if not self._tasks:
            return
        try:
            yield
            while not all(task.done() for task in self._tasks):
                await asyncio.wait(self._tasks, timeout=TICK_SECONDS)
                yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _answer(self, assistant: Assistant, column: Column) -> None:
        if column.stored is not None:
            await self._open_stored(assistant, column, column.stored)
            return
        begun = time.monotonic()
        query = column.settings.query(column.messages(self.prompt, self.history))
        try:
            async with aclosing(assistant.chat(query)) as items:
                async for item in items:
                    if isinstance(item, Finish):
                        column.usage, column.end = item.usage, item.reason
                        require_complete(item, _ended_early)
                    else:
                        column.tokens.append(item)
        except Exception as error:
            column.error = self._sentence(error)
        finally:
            column.took = time.monotonic() - begun

    async def _open_stored(self, assistant: Assistant, column: Column, stored: StoredAnswer) -> None:
        """Show a stored answer, or let the model read an answer without tokens."""
        column.end, column.tokens = FinishReason.STOP, list(stored.tokens)
        if not stored.tokens and stored.text.strip():
            at = self.columns.index(column)
            text = ComparedText(column.letter, stored.text)
            await self._score(assistant, text, [at])
            column.tokens = text.tokens.get(at, [])

    def _scorings(self, assistant: Assistant) -> list[Coroutine[Any, Any, None]]:
        """Return the remaining scorings, shared by columns with the same reader."""
        works = []
        for text in self.texts:
            if not text.text.strip():
                continue
            known = {self.columns[at].reader: tokens for at, tokens in text.tokens.items()}
            unknown: dict[Reader, list[int]] = {}
            for at, column in enumerate(self.columns):
                if column.reader in known:
                    text.tokens[at] = known[column.reader]
                else:
                    unknown.setdefault(column.reader, []).append(at)
            works += [self._score(assistant, text, columns) for columns in unknown.values()]
        return works

    async def _score(self, assistant: Assistant, text: ComparedText, columns: Sequence[int]) -> None:
        """Score a text for columns with the same reader."""
        column = self.columns[columns[0]]
        read = (
            text.text
            if self.reads_only and column.conversation is None
            else [*column.messages(self.prompt, self.history), Message(ASSISTANT, text.text)]
        )
        tokens: list[Token] = []
        try:
            query = ScoreQuery(read, model=column.settings.model or None, top_logprobs=ALTERNATIVES)
            await score(assistant, query, tokens.append, _ended_early)
            found = last_occurrence(tokens, text.text)
            if found is None:
                name = text.name if text.name == REFERENCE else f"{text.name}'s answer"
                raise PellucidError(
                    f"The chat template of {column.letter}'s model changes {name}, so {column.letter} cannot score it."
                )
            text.tokens |= dict.fromkeys(columns, found)
        except Exception as error:
            for at in columns:
                self.columns[at].error = self.columns[at].error or self._sentence(error)

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, QueueFullError):
            self.refused = error
        if isinstance(error, PellucidError):
            return str(error)
        logger.error("A column of a comparison failed.", exc_info=error)
        return UNEXPECTED


def _ended_early(reason: FinishReason) -> str:
    return f"The server ended this answer early: {reason}."
