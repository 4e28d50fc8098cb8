"""A progress bar in the editor while the model server starts or loads a model."""

from __future__ import annotations

import asyncio
import logging
import uuid

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

Updates = asyncio.Queue[tuple[str, int | None] | None]
"""The messages and percentages of a bar, in order; `None` ends the bar."""

log = logging.getLogger(__name__)


class LoadingBar:
    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._updates: Updates | None = None
        self._drawing: set[asyncio.Task[None]] = set()
        self._refused = False

    def show(self, message: str, percent: float | None) -> None:
        window = self._server.client_capabilities.window
        if self._refused or window is None or not window.work_done_progress:
            return
        if self._updates is None:
            self._updates = asyncio.Queue()
            drawing = asyncio.create_task(self._draw(self._updates))
            self._drawing.add(drawing)
            drawing.add_done_callback(self._drawing.discard)
        self._updates.put_nowait((message, None if percent is None else round(percent)))

    def hide(self) -> None:
        """End the bar. The next message starts a new bar, even if this bar was never shown."""
        if self._updates is not None:
            self._updates.put_nowait(None)
            self._updates = None

    async def _draw(self, updates: Updates) -> None:
        progress = self._server.work_done_progress
        token = str(uuid.uuid4())
        try:
            await progress.create_async(token)
        except JsonRpcException as error:
            log.info("The client shows no progress bar: %s", error)
            self._refused = True
            if self._updates is updates:
                self._updates = None
            return
        begun = False
        while (update := await updates.get()) is not None:
            message, percent = update
            if begun:
                progress.report(token, types.WorkDoneProgressReport(message=message, percentage=percent))
            else:
                progress.begin(
                    token, types.WorkDoneProgressBegin(title="Pellucid", message=message, percentage=percent)
                )
                begun = True
        progress.end(token, types.WorkDoneProgressEnd())
