"""The language server of an editor with a plugin for the Copilot language server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from lsprotocol import types

from pellucid.completion.suggestion import Suggestion
from pellucid.errors import UnavailableError
from pellucid.vocabulary.model_card import ModelCard
from pellucid_lsp.copilot.copilot_client_quirks import CopilotProtocol
from pellucid_lsp.editor_settings import SECTION, EditorSettings
from pellucid_lsp.server import NEOVIM, Pellucid
from pellucid_lsp.user_messages import LOADING

VERSION_SECONDS = 0.1
"""Maximum wait for the document's version that a request names."""

Place = tuple[str, int, int]
"""A URI, a line and a character."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Settings with Copilot's names."""

    automatic: bool = True
    """``enableAutoCompletions``: if false, suggestions are only requested by hand."""
    languages_off: tuple[str, ...] = ()
    """``disabledLanguages``."""
    model: str = ""
    """``github.copilot.selectedCompletionModel``: a name from ``copilot/models``."""

    def updated(self, given: object) -> Self:
        """Return the settings after a notification; missing and invalid settings stay unchanged."""
        automatic, languages = _at(given, "enableAutoCompletions"), _at(given, "disabledLanguages")
        model = _at(given, "github", "copilot", "selectedCompletionModel")
        off = self.languages_off
        if isinstance(languages, list):
            off = tuple(id for one in languages if isinstance(id := _at(one, "languageId"), str))
        return replace(
            self,
            automatic=automatic if isinstance(automatic, bool) else self.automatic,
            languages_off=off,
            model=model if isinstance(model, str) else self.model,
        )

    def added_to(self, settings: EditorSettings, model: str) -> EditorSettings:
        """Return Pellucid's settings with these settings; an empty ``model`` changes nothing."""
        off = dict.fromkeys((*settings.completion.languages_off, *self.languages_off))
        completion = replace(settings.completion, languages_off=tuple(off))
        return replace(settings, completion=completion, model=model or settings.model)


def _at(given: object, *names: str) -> Any:
    for name in names:
        given = given.get(name) if isinstance(given, dict) else None
    return given


class CopilotServer(Pellucid):
    """The language server of a Copilot client. Pellucid's own settings are under ``pellucid``."""

    protocol_class = CopilotProtocol

    def __init__(self) -> None:
        super().__init__()
        self.client_settings = ClientSettings()
        self._own_settings: object = None
        self._model = ""
        """The client's selected model, if the model server has the model."""
        self._looked_up = ""
        self._running = 0
        self._automatic: Counter[Place] = Counter()
        self._shown_state: dict[str, Any] = {}
        self._changed = asyncio.Event()
        """Set, and replaced, at each change of a document."""

    @property
    def user(self) -> str:
        """The displayed name of a signed-in user, because there are no accounts.

        Empty for Sublime Text, because the plugin would download the picture of the GitHub user
        "local".
        """
        return "" if self.client_name.startswith("Sublime Text") else "local"

    def needs_menu(self, client: types.ClientCapabilities) -> bool:
        """Return the menu setting: these clients draw ghost text without saying so."""
        return super().needs_menu(types.ClientCapabilities(text_document=_GHOST_TEXT))

    async def apply_initial_settings(self, params: types.InitializeParams) -> None:
        """Apply only the settings under ``pellucid``; the rest is the client's."""
        options = params.initialization_options
        await self.apply_settings(options.get(SECTION) if isinstance(options, dict) else None)
        self.initial_settings, self._own_settings = self.settings, None

    async def change_settings(self, given: object) -> None:
        """Apply changed settings. Some clients send only parts."""
        self.client_settings = self.client_settings.updated(given)
        if not await self.request_settings():
            await self.apply_settings(
                given[SECTION] if isinstance(given, dict) and SECTION in given else self._own_settings
            )

    def read_settings(self, given: object) -> tuple[EditorSettings, tuple[str, ...]]:
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
        """Return the suggestions at a position, and show the server as busy meanwhile."""
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
        self._automatic[place] += 1
        try:
            yield
        finally:
            self._automatic[place] -= 1
            self._automatic += Counter()  # Removes counts of 0.

    def is_requested(self, place: Place) -> bool:
        return self._automatic[place] > 0

    async def has_version(self, uri: str, version: int | None, text: str | None) -> bool:
        """Wait briefly for the version of a document, and return whether the version is there.

        A ``text`` in the request decides instead of the version. For Neovim there is no wait,
        because Neovim sends all changes before a request and raises the version for other reasons
        as well.
        """
        if version is None or self.client_name == NEOVIM:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(VERSION_SECONDS):
                while not self._is_current(uri, version, text):
                    await self._changed.wait()
        return self._is_current(uri, version, text)

    def note_changes(self, params: types.DidChangeTextDocumentParams) -> None:
        super().note_changes(params)
        self._changed.set()
        self._changed = asyncio.Event()

    async def cards(self) -> list[ModelCard]:
        """Return the models.

        Raise UnavailableError if the server cannot be reached or suggestions are off.
        """
        await self.settings_known.wait()
        if not self.session.switch.is_on:
            raise UnavailableError(self.session.status()["message"])
        launcher = self.session.launcher
        client = await launcher.client()
        try:
            return await client.cards()
        except UnavailableError:
            launcher.lost(client)
            raise

    def show_status(self) -> None:
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
        name = self.client_settings.model
        if name == self._looked_up or not self.session.switch.is_on:
            return
        try:
            known = {card.name for card in await self.cards()} if name else set()
        except UnavailableError:
            return  # The request for a suggestion reports the error.
        self._looked_up, self._model = name, name if name in known else ""
        await self.apply_settings(self._own_settings)

    def _show_state(self, status: dict[str, Any]) -> None:
        """Send a changed state in the current and the former format.

        A failed server is not shown as busy: clients repeat an error with each notification, and
        every request would send two notifications.
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
