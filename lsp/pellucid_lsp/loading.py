"""The editor's progress bar while the model server starts, fetches a model or loads it."""

from __future__ import annotations

import asyncio
import uuid

from lsprotocol import types
from pygls.lsp.server import LanguageServer


class LoadingBar:
    """Shown where the client can show one; follows the state as it is told."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._token: str | None = None
        self._updates: asyncio.Queue[tuple[str, int | None] | None] = asyncio.Queue()
        self._drawing: asyncio.Task[None] | None = None

    def show(self, message: str, percent: float | None) -> None:
        """Show a sentence and how far it is."""
        window = self._server.client_capabilities.window
        if window is None or not window.work_done_progress:
            return
        self._updates.put_nowait((message, None if percent is None else round(percent)))
        if self._drawing is None or self._drawing.done():
            self._drawing = asyncio.create_task(self._draw())

    def hide(self) -> None:
        """It is done."""
        if self._drawing is not None and not self._drawing.done():
            self._updates.put_nowait(None)

    async def _draw(self) -> None:
        progress = self._server.work_done_progress
        token = str(uuid.uuid4())
        await progress.create_async(token)
        begun = False
        while (update := await self._updates.get()) is not None:
            message, percent = update
            if begun:
                progress.report(token, types.WorkDoneProgressReport(message=message, percentage=percent))
            else:
                progress.begin(token, types.WorkDoneProgressBegin(title="Pellucid", message=message, percentage=percent))
                begun = True
        progress.end(token, types.WorkDoneProgressEnd())
