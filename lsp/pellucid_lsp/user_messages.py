"""Messages to the user: errors, the status, and the progress of loading."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from pellucid.errors import PellucidError
from pellucid_lsp.loading_progress import LoadingBar

LOADING = ("starting", "loading")
"""The states with a progress bar."""

log = logging.getLogger(__name__)


class UserMessages:
    """The messages of a language server. Each error is shown once until the server is ready."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._background: set[asyncio.Task[None]] = set()
        self._shown_errors: set[str] = set()
        self._shown_status: dict[str, Any] = {}
        self._loading_bar = LoadingBar(server)

    def show_error(self, error: PellucidError) -> None:
        message = str(error)
        log.warning("%s", message)
        if message not in self._shown_errors:
            self._shown_errors.add(message)
            self._server.window_show_message(types.ShowMessageParams(types.MessageType.Warning, f"Pellucid: {message}"))

    def show_info(self, message: str) -> None:
        self._server.window_show_message(types.ShowMessageParams(types.MessageType.Info, f"Pellucid: {message}"))

    def show_status(self, status: dict[str, Any], *, notify: bool) -> None:
        shown = {name: value for name, value in status.items() if name not in ("progress", "message")}
        if status["state"] in LOADING:
            self._loading_bar.show(status["message"], status["progress"])
        else:
            self._loading_bar.hide()
        if status["state"] == "ready" != self._shown_status.get("state"):
            self._shown_errors.clear()
        if notify and (status["state"] in LOADING or shown != self._shown_status):
            self._server.protocol.notify("pellucid/didChangeStatus", status)
        self._shown_status = shown

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine without waiting, and show its errors to the user."""
        task = asyncio.create_task(self._show_errors_of(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def cancel_background(self) -> None:
        for task in self._background:
            task.cancel()

    async def _show_errors_of(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except PellucidError as error:
            self.show_error(error)
