"""Defines the language server of an editor whose plugin speaks the Copilot language server's protocol."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lsprotocol import types

from pellucid.completion.suggestion import Suggestion
from pellucid.errors import UnavailableError
from pellucid.tokens import ModelCard
from pellucid_lsp.copilot.client_settings import ClientSettings
from pellucid_lsp.copilot.copilot_protocol import CopilotProtocol
from pellucid_lsp.editor_settings import SECTION, EditorSettings
from pellucid_lsp.server import LOADING, NEOVIM, Pellucid

VERSION_SECONDS = 0.1
"""How long a request waits for the version of the document that it names."""

Place = tuple[str, int, int]
"""A URI, a line and a character."""


class CopilotServer(Pellucid):
    """The language server of one editor with a plugin for the Copilot language server.

    Pellucid's own settings are under ``pellucid``.
    """

    protocol_class = CopilotProtocol

    def __init__(self) -> None:
        super().__init__()
        self.client_settings = ClientSettings()
        self._own_settings: object = None
        self._model = ""
        """The model that the client selected, if the model server has it."""
        self._looked_up = ""
        self._running = 0
        self._automatic: Counter[Place] = Counter()
        self._shown_state: dict[str, Any] = {}
        self._changed = asyncio.Event()
        """Set, and replaced, whenever a document changes."""

    @property
    def user(self) -> str:
        """The name that clients show as that of a user who is signed in: there are no accounts here.

        It is empty for Sublime Text, whose plugin would download the picture of a GitHub user with
        this name.
        """
        return "" if self.client_name.startswith("Sublime Text") else "local"

    def needs_menu(self, client: types.ClientCapabilities) -> bool:
        """Return whether the menu is switched on: these clients draw ghost text even if they do not say so."""
        return super().needs_menu(types.ClientCapabilities(text_document=_GHOST_TEXT))

    async def apply_initial_settings(self, params: types.InitializeParams) -> None:
        """Apply the settings under ``pellucid``.

        The others, such as ``editorInfo``, belong to the client's protocol.
        """
        options = params.initialization_options
        await self.apply_settings(options.get(SECTION) if isinstance(options, dict) else None)
        self.initial_settings, self._own_settings = self.settings, None

    async def change_settings(self, given: object) -> None:
        """Apply changed settings, the client's and our own. Some clients send them in parts."""
        self.client_settings = self.client_settings.updated(given)
        if not await self.request_settings():
            await self.apply_settings(
                given[SECTION] if isinstance(given, dict) and SECTION in given else self._own_settings
            )

    def read_settings(self, given: object) -> tuple[EditorSettings, tuple[str, ...]]:
        """Return our own settings with those of the client, and one sentence for each invalid one."""
        self._own_settings = given
        settings, errors = super().read_settings(given)
        return self.client_settings.added_to(settings, self._model), errors

    async def suggestions(
        self,
        uri: str,
        position: types.Position,
        selected: types.SelectedCompletionInfo | None,
        invoked: bool,
        *,
        parts: bool = False,
    ) -> list[Suggestion]:
        """Return the suggestions at a position. The client is notified that the server is busy."""
        if not (invoked or self.client_settings.automatic):
            return []
        await self.settings_known.wait()
        self._running += 1
        self._show_state(self.session.status())
        try:
            await self._look_up_model()
            return await super().suggestions(uri, position, selected, invoked, parts=parts)
        finally:
            self._running -= 1
            self._show_state(self.session.status())

    @contextmanager
    def automatic_request(self, place: Place) -> Iterator[None]:
        """Note for its duration that a request for the suggestion at a place runs."""
        self._automatic[place] += 1
        try:
            yield
        finally:
            self._automatic[place] -= 1
            self._automatic += Counter()  # without those of 0

    def is_requested(self, place: Place) -> bool:
        """Return whether a request for the suggestion at a place runs."""
        return self._automatic[place] > 0

    async def has_version(self, uri: str, version: int | None, text: str | None) -> bool:
        """Return whether a document is in the version that a request names; wait a moment for it.

        If the request also brings the text, that decides. Neovim sends all changes before a
        request, and raises the version for other reasons as well: for it there is nothing to wait
        for.
        """
        if version is None or self.client_name == NEOVIM:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(VERSION_SECONDS):
                while not self._is_current(uri, version, text):
                    await self._changed.wait()
        return self._is_current(uri, version, text)

    def note_changes(self, params: types.DidChangeTextDocumentParams) -> None:
        """Note where a document was edited, and wake the requests that wait for it."""
        super().note_changes(params)
        self._changed.set()
        self._changed = asyncio.Event()

    async def cards(self) -> list[ModelCard]:
        """Return the models of the model server.

        Raise UnavailableError if it cannot be reached, or if suggestions are off.
        """
        await self.settings_known.wait()
        if not self.session.enabled:
            raise UnavailableError(self.session.status()["message"])
        launcher = self.session.launcher
        client = await launcher.client()
        try:
            return await client.cards()
        except UnavailableError:
            launcher.lost(client)
            raise

    def show_status(self) -> None:
        """Send the state of the model server to the client if it has changed."""
        super().show_status()
        self._show_state(self.session.status())

    def _is_current(self, uri: str, version: int, text: str | None) -> bool:
        document = self.documents.text_documents.get(uri)
        if document is None:
            return False
        if text is not None:
            return bool(document.source == text)
        return document.version is not None and document.version >= version

    async def _look_up_model(self) -> None:
        """Use the model that the client has selected, if the model server has it.

        It may be one of the service that it was made for.
        """
        name = self.client_settings.model
        if name == self._looked_up or not self.session.enabled:
            return
        try:
            known = {card.name for card in await self.cards()} if name else set()
        except UnavailableError:
            return  # the request for a suggestion reports it
        self._looked_up, self._model = name, name if name in known else ""
        await self.apply_settings(self._own_settings)

    def _show_state(self, status: dict[str, Any]) -> None:
        """Send both forms of the state, the present and the former one, if it has changed.

        Clients ignore the one that they do not know.

        A server that has failed is not busy: clients show an error again with each notification,
        and every request would send two.
        """
        kind = {"off": "Inactive", "failed": "Error"}.get(status["state"], "Normal")
        busy = kind == "Normal" and (self._running > 0 or status["state"] in LOADING)
        message = status["message"] if kind != "Normal" or status["state"] in LOADING else ""
        state = {"busy": busy, "kind": kind, "message": message}
        if state != self._shown_state:
            self._shown_state = state
            self.protocol.notify("didChangeStatus", state)
            self.protocol.notify("statusNotification", {"status": "InProgress" if busy else kind, "message": message})


_GHOST_TEXT = types.TextDocumentClientCapabilities(inline_completion=types.InlineCompletionClientCapabilities())
