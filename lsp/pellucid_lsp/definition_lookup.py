"""The moments at which the client is asked for the definitions of names near the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pellucid.completion.context.definitions import Definitions
from pellucid.completion.context.names_near_cursor import NamePlace
from pellucid.completion.document_cursor import DocumentCursor

ASK_SECONDS = 0.3
"""The pause after a keystroke before the client is asked."""

Ask = Callable[[DocumentCursor, Sequence[NamePlace]], bool]
"""Asks for names, and returns whether that was possible."""


class DefinitionLookup:
    """Asks in pauses, for each document again only after the answer.

    Suggestions do not wait: an answer that comes late serves the next request.
    """

    def __init__(self, definitions: Definitions, ask: Ask | None) -> None:
        self._definitions = definitions
        self._ask = ask
        self._cursor: DocumentCursor | None = None
        self._waiting: dict[str, DocumentCursor] = {}
        self._task: asyncio.Task[None] | None = None

    def restart(self, cursor: DocumentCursor) -> None:
        """Ask after a pause at a cursor."""
        self.stop()
        if self._ask is not None and cursor.uri not in self._waiting:
            self._task = asyncio.create_task(self._run(cursor, self._ask))
        self._cursor = cursor

    def note_answer(self, uri: str, names: Sequence[str]) -> None:
        """Ask for the names that are near by now.

        If the client could not look any name up, ask at the next pause elsewhere.
        """
        asked = self._waiting.pop(uri, None)
        if self._cursor is not None and self._cursor.uri == uri and (names or self._cursor != asked):
            self.restart(self._cursor)

    def forget(self, uri: str) -> None:
        self._waiting.pop(uri, None)
        if self._cursor is not None and self._cursor.uri == uri:
            self.stop()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = self._cursor = None

    async def _run(self, cursor: DocumentCursor, ask: Ask) -> None:
        await asyncio.sleep(ASK_SECONDS)
        names = self._definitions.unknown(cursor)
        if names and ask(cursor, names):
            self._waiting[cursor.uri] = cursor

    def report(self) -> str:
        """Return a sentence about the definitions so far."""
        if self._ask is None:
            return "The editor does not look up definitions."
        if not self._definitions.most_characters:
            return "The setting pellucid.context.definitionsTokens is 0: no definitions are looked up."
        if not self._definitions.asked:
            waiting = "The editor has not answered yet." if self._waiting else "No name was looked up yet."
            return f"{waiting} Definitions come from the editor's other language servers."
        return (
            f"The editor's language servers were asked for {self._definitions.asked} names, and found the definitions"
            f" of {self._definitions.found} in other files."
        )
