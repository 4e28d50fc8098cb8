"""Prefill of the prompt while the user pauses, with new chunks of other files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from pellucid.completion.suggestion import DocumentCursor
from pellucid.errors import PellucidError

logger = logging.getLogger(__name__)

IDLE_SECONDS = 3.0

CHUNK_SECONDS = 1.0


class IdlePrefill:
    """The last cursor, and the task that waits for a pause there.

    ``find_chunks``: finds chunks for a cursor. ``promote``: adds a chunk to the prompt and returns
    whether there was a chunk. ``prefill``: makes the model read the prompt. ``may_send``: asked
    before each chunk.
    """

    def __init__(
        self,
        find_chunks: Callable[[DocumentCursor], Awaitable[None]],
        promote: Callable[[], bool],
        prefill: Callable[[DocumentCursor], Awaitable[None]],
        may_send: Callable[[DocumentCursor], bool],
    ) -> None:
        self._find_chunks = find_chunks
        self._promote = promote
        self._prefill = prefill
        self._may_send = may_send
        self._cursor: DocumentCursor | None = None
        self._task: asyncio.Task[None] | None = None

    def restart(self, cursor: DocumentCursor) -> None:
        self.stop()
        self._cursor = cursor
        self._task = asyncio.create_task(self._run(cursor))

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = self._cursor = None

    def stop_in(self, uri: str) -> None:
        if self._cursor is not None and self._cursor.uri == uri:
            self.stop()

    async def _run(self, cursor: DocumentCursor) -> None:
        await asyncio.sleep(IDLE_SECONDS)
        with suppress(PellucidError):  # No caller waits for the task; the next request reports the failure
            await self._promote_all(cursor)
            if self._may_send(cursor):
                try:
                    await self._find_chunks(cursor)
                except Exception:  # Suggestions work without the chunks
                    logger.exception("Looking for related files failed.")
                await self._promote_all(cursor)

    async def _promote_all(self, cursor: DocumentCursor) -> None:
        """Add the available chunks one by one, and make the model read each chunk."""
        while self._may_send(cursor) and self._promote():
            await self._prefill(cursor)
            await asyncio.sleep(CHUNK_SECONDS)
