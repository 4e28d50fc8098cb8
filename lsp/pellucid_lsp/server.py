"""The language server of one editor: settings, session, and helpers of the handlers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from pellucid.completion.settings import Popup
from pellucid.completion.suggestion import Suggestion
from pellucid.errors import ConfigError, PellucidError
from pellucid_lsp.documents import Documents
from pellucid_lsp.editor_settings import SECTION, EditorSettings
from pellucid_lsp.request_params import Handler, with_error_responses
from pellucid_lsp.tolerant_protocol import Protocol
from pellucid_lsp.user_messages import UserMessages

if TYPE_CHECKING:
    from pellucid_lsp.definition_lookup import Ask
    from pellucid_lsp.session import EditorSession

NEOVIM = "Neovim"
"""The client name reported by every Neovim plugin."""

log = logging.getLogger(__name__)


class Pellucid(LanguageServer):
    """The language server of one editor.

    Modules that ``initialize`` does not need, such as the session, are imported after the answer,
    because editors wait for the answer.
    """

    protocol_class: type[Protocol] = Protocol

    def __init__(self) -> None:
        super().__init__(
            "pellucid",
            metadata.version("pellucid"),
            notebook_document_sync=types.NotebookDocumentSyncOptions(
                notebook_selector=[types.NotebookDocumentFilterWithNotebook(notebook="*")]
            ),
            protocol_cls=self.protocol_class,
        )
        self.client_name = ""
        """The editor's name, or an empty string."""
        self.settings = EditorSettings()
        self.initial_settings = EditorSettings()
        """The ``initializationOptions``; ``workspace/configuration`` overrides these."""
        self.settings_known = asyncio.Event()
        """Set once the client's settings are known. Nothing is sent to the model before."""
        self.opened_texts: dict[str, str] = {}
        """The texts of documents when opened, because users may type before the settings are known.
        """
        self.ask_definitions: Ask | None = None
        self._session: EditorSession | None = None
        self.messages = UserMessages(self)

    @property
    def session(self) -> EditorSession:
        if self._session is None:
            from pellucid_lsp.session import EditorSession

            self._session = EditorSession(
                self.settings, self.documents.folder_paths, self.show_status, self.ask_definitions
            )
        return self._session

    @property
    def documents(self) -> Documents:
        assert isinstance(self.workspace, Documents), "installed by the handler of initialize"
        return self.workspace

    def own_request(self, method: str) -> Callable[[Handler], Handler]:
        """Return a decorator for a request handler; PellucidErrors become error responses."""
        return lambda handler: self.feature(method)(with_error_responses(handler))

    def own_command(self, name: str) -> Callable[[Handler], Handler]:
        return lambda handler: self.command(name)(with_error_responses(handler))

    async def suggestions(
        self,
        uri: str,
        position: types.Position,
        selected: types.SelectedCompletionInfo | None,
        invoked: bool,
        *,
        parts: bool = False,
    ) -> list[Suggestion]:
        """Return the suggestions at a position, or [] after a change of the document.

        ``parts``: the answer can mark a suggestion as partial. Clients that then repeat the request
        turn on the setting ``partial_suggestions``.
        """
        await self.settings_known.wait()
        version = self.documents.get_text_document(uri).version
        try:
            parts = parts and self.settings.partial_suggestions
            suggestions = await self.session.suggest(
                self.documents.cursor(uri, position, selected), version, invoked=invoked, parts=parts
            )
        except PellucidError as error:
            self.messages.show_error(error)
            return []
        finally:
            self.show_status()
        if self.documents.get_text_document(uri).version != version or not self.session.switch.is_on:
            return []
        self.session.reactions.note_shown(suggestions)
        return suggestions

    def note_changes(self, params: types.DidChangeTextDocumentParams) -> None:
        changes = [
            change for change in params.content_changes if isinstance(change, types.TextDocumentContentChangePartial)
        ]
        uri = params.text_document.uri
        if changes:
            self.session.note_edited(uri, self.documents.text(uri), changes[-1].range.start.line)
        self.session.next_edits.cancel_elsewhere()
        self.follow(uri)

    def follow(self, uri: str) -> None:
        """Record a document's edits, unless suggestions are off for the document.

        Before the settings are known, do nothing: a later call also records the opened text.
        """
        if not self.settings_known.is_set():
            return
        opened = self.opened_texts.pop(uri, None)
        if self.has_edits(uri):
            text = self.documents.text(uri)
            for one in (text,) if opened is None else (opened, text):
                self.session.next_edits.note(uri, one)

    def show_status(self) -> None:
        self.messages.show_status(self.session.status(), notify=self.settings.status_notifications)
        if offer := self.session.calibration_offer():
            self.messages.show_info(offer)

    def needs_menu(self, client: types.ClientCapabilities) -> bool:
        has_ghost_text = client.text_document is not None and client.text_document.inline_completion is not None
        popup = self.settings.completion.popup
        return popup is Popup.ON or (popup is Popup.AUTO and not has_ghost_text)

    async def apply_initial_settings(self, params: types.InitializeParams) -> None:
        await self.apply_settings(params.initialization_options)
        self.initial_settings = self.settings

    async def change_settings(self, given: object) -> None:
        if not await self.request_settings() and isinstance(given, dict) and SECTION in given:
            await self.apply_settings(given[SECTION])

    def read_settings(self, given: object) -> tuple[EditorSettings, tuple[str, ...]]:
        """Return the settings over the initial settings, and a sentence per invalid setting."""
        return EditorSettings.read_valid(given, self.initial_settings)

    async def apply_settings(self, given: object) -> None:
        """Apply settings over the initial settings; report and ignore invalid settings."""
        self.settings, errors = self.read_settings(given)
        for message in errors:
            self.messages.show_error(ConfigError(message))
        for package in ("pellucid", "pellucid_lsp"):
            logging.getLogger(package).setLevel(self.settings.log_level.upper())
        if self._session is None or self._session.settings == self.settings:
            return
        ring = self._session.ring
        await self._session.change_settings(self.settings)
        self.note_open_documents(new_ring=self._session.ring is not ring)
        self.show_status()

    def note_open_documents(self, *, new_ring: bool) -> None:
        """Record the open documents again, because the session may have lost the documents."""
        for document in self.documents.text_documents.values():
            if new_ring:
                self.session.note_opened(document.uri, self.documents.text(document.uri))
            self.follow(document.uri)

    async def request_settings(self) -> bool:
        """Request and apply the settings. Return whether the client supports the request."""
        workspace = self.client_capabilities.workspace
        if not (workspace and workspace.configuration):
            return False
        items = [types.ConfigurationItem(section=SECTION)]
        answer = await self.workspace_configuration_async(types.ConfigurationParams(items))
        await self.apply_settings(answer[0] if answer else None)
        return True

    async def aclose(self) -> None:
        self.messages.cancel_background()
        if self._session is not None:
            await self._session.aclose()

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log an internal error. A message box would only interrupt the user's typing."""
        log.error("%s", source, exc_info=error)

    def has_edits(self, uri: str) -> bool:
        """Return whether a document is neither a notebook cell nor in a language that is off."""
        language = self.documents.get_text_document(uri).language_id or ""
        return not self.documents.is_cell(uri) and language not in self.settings.completion.languages_off
