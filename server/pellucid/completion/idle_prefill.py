"""Prefill of the prompt of an opened document and in pauses, with new chunks and definitions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.definitions import Definitions
from pellucid.completion.context.workspace_files import WorkspaceFiles
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.sending_policy import SendingPolicy
from pellucid.errors import PellucidError

logger = logging.getLogger(__name__)

IDLE_SECONDS = 3.0

DEFINITIONS_SECONDS = 1.0
"""The pause before definitions are read: less, because a keystroke meanwhile costs nothing."""

CHUNK_SECONDS = 1.0


class IdlePrefill:
    """The prefill at the last cursor.

    The policy is asked before each chunk. The completer makes the model read each prompt. While
    ``saves_power`` is true, nothing is read.
    """

    def __init__(
        self,
        policy: SendingPolicy,
        ring: ChunkRing,
        definitions: Definitions,
        files: WorkspaceFiles,
        completer: Completer,
        saves_power: Callable[[], bool] = lambda: False,
    ) -> None:
        self._policy = policy
        self._ring = ring
        self._definitions = definitions
        self._files = files
        self._completer = completer
        self._saves_power = saves_power
        self._cursor: DocumentCursor | None = None
        self._task: asyncio.Task[None] | None = None

    def restart(self, cursor: DocumentCursor, *, at_once: bool = False) -> None:
        """Prefill after a pause or ``at_once``, for an opened document."""
        self.stop()
        self._cursor = cursor
        self._task = asyncio.create_task(self._run(cursor, 0 if at_once else IDLE_SECONDS))

    def continue_in(self, uri: str) -> None:
        """Prefill after a pause if the cursor is in a document whose definitions have come."""
        if self._cursor is not None and self._cursor.uri == uri:
            self.restart(self._cursor)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = self._cursor = None

    def stop_in(self, uri: str) -> None:
        if self._cursor is not None and self._cursor.uri == uri:
            self.stop()

    async def _run(self, cursor: DocumentCursor, seconds: float) -> None:
        pause = min(seconds, DEFINITIONS_SECONDS)
        await asyncio.sleep(pause)
        if self._saves_power():
            return
        with suppress(PellucidError):  # No caller waits for the task; the next request reports the failure
            await self._adopt_definitions(cursor)
            await asyncio.sleep(seconds - pause)
            await self._promote_all(cursor)
            if self._policy.refusal(cursor) is None:
                try:
                    pieces = [(piece.path.as_uri(), piece) for piece in await self._files.related(cursor)]
                    self._ring.note_related(
                        (uri, self._policy.filename(uri), piece.text, piece.line) for uri, piece in pieces
                    )
                except Exception:  # Suggestions work without the chunks
                    logger.exception("Looking for related files failed.")
                await self._promote_all(cursor)

    async def _adopt_definitions(self, cursor: DocumentCursor) -> None:
        """Have the model read new definitions before suggestions use them.

        A keystroke ends the reading. The keystroke's prompt has the former definitions, which the
        KV cache keeps. The next pause continues where the model stopped.
        """
        if self._policy.refusal(cursor) is None and self._definitions.prepare(cursor):
            await self._completer.prefill(cursor, prepared=True)
            self._definitions.adopt()

    async def _promote_all(self, cursor: DocumentCursor) -> None:
        while self._policy.refusal(cursor) is None and self._ring.promote(cursor.uri):
            await self._completer.prefill(cursor)
            await asyncio.sleep(CHUNK_SECONDS)
