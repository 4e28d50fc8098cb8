"""The language server of one editor: settings, session, and helpers of the handlers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from pellucid.completion.context.uris import file_path
from pellucid.completion.settings import Popup
from pellucid.completion.suggestion import DocumentCursor, Suggestion, normalize_newlines
from pellucid.errors import ConfigError, PellucidError
from pellucid_lsp.documents import Documents, cursor_at
from pellucid_lsp.edit_items import EditItem, edit_item
from pellucid_lsp.editor_settings import SECTION, EditorSettings
from pellucid_lsp.loading_progress import LoadingBar
from pellucid_lsp.request_params import Handler, with_error_responses
from pellucid_lsp.tolerant_protocol import Protocol

if TYPE_CHECKING:
    from pellucid.completion.edits.edit_memory import NextEdit
    from pellucid_lsp.session import EditorSession

NEOVIM = "Neovim"
"""The client name reported by every Neovim plugin."""

LOADING = ("starting", "loading")
"""The states with a progress bar."""

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
        self._session: EditorSession | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._shown_errors: set[str] = set()
        self._loading_bar = LoadingBar(self)
        self._shown_status: dict[str, Any] = {}

    @property
    def session(self) -> EditorSession:
        if self._session is None:
            from pellucid_lsp.session import EditorSession

            self._session = EditorSession(self.settings, self.folders, self.show_status)
        return self._session

    @property
    def folders(self) -> list[Path]:
        uris = [folder.uri for folder in self.workspace.folders.values()] or [self.workspace.root_uri or ""]
        return [path for uri in uris if uri and (path := file_path(uri))]

    @property
    def documents(self) -> Documents:
        assert isinstance(self.workspace, Documents), "installed by the handler of initialize"
        return self.workspace

    def own_request(self, method: str) -> Callable[[Handler], Handler]:
        """Return a decorator for a request handler; PellucidErrors become error responses."""
        return lambda handler: self.feature(method)(with_error_responses(handler))

    def own_command(self, name: str) -> Callable[[Handler], Handler]:
        """Return a decorator for a command handler; PellucidErrors become error responses."""
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
                self.cursor_at(uri, position, selected), version, invoked=invoked, parts=parts
            )
        except PellucidError as error:
            self.show_error(error)
            return []
        finally:
            self.show_status()
        if self.documents.get_text_document(uri).version != version or not self.session.enabled:
            return []
        self.session.note_shown(suggestions)
        return suggestions

    async def next_edits(self, uri: str, position: types.Position | None = None) -> list[EditItem]:
        await self.settings_known.wait()
        if not self.has_edits(uri):
            return []
        version = self.documents.get_text_document(uri).version
        try:
            before = None if position is None else self.cursor_at(uri, position).before
            cursor = None if before is None else (before.count("\n"), len(before) - before.rfind("\n") - 1)
            edits = await self.session.suggest_edits(uri, self.text(uri), version, cursor)
        except PellucidError as error:
            self.show_error(error)
            return []
        if self.documents.get_text_document(uri).version != version or not self.session.enabled:
            return []
        return [edit_item(edit, self.documents, self.line_end(uri)) for edit in edits]

    async def next_edits_elsewhere(self, uri: str) -> list[NextEdit]:
        await self.settings_known.wait()
        if not self.has_edits(uri):
            return []
        version = self.documents.get_text_document(uri).version
        try:
            edits = await self.session.suggest_edits_elsewhere(uri, self.text(uri), version)
        except PellucidError as error:
            self.show_error(error)
            return []
        return edits if self.documents.get_text_document(uri).version == version and self.session.enabled else []

    def cursor_at(
        self, uri: str, position: types.Position, selected: types.SelectedCompletionInfo | None = None
    ) -> DocumentCursor:
        """Return the cursor at a position, as if the selected menu item had been accepted."""
        cursor = cursor_at(self.documents, uri, position)
        line, character = position.line, position.character
        if selected is not None:
            start = selected.range.start
            kept, after = (
                cursor_at(self.documents, uri, start).before,
                cursor_at(self.documents, uri, selected.range.end).after,
            )
            text = cursor.before + cursor.after
            replaced = text[len(kept) : len(text) - len(after)]
            cursor = replace(
                cursor, before=kept + selected.text, after=after, selected=selected.text, replaced=replaced
            )
            line, character = (
                start.line,
                start.character + self.documents.position_codec.client_num_units(selected.text),
            )
        before, after = normalize_newlines(cursor.before), normalize_newlines(cursor.after)
        return replace(cursor, before=before, after=after, position=(line, character))

    def text(self, uri: str) -> str:
        r"""Return the text of a document, with ``\n`` as the line ending."""
        return normalize_newlines(self.documents.get_text_document(uri).source)

    def line_end(self, uri: str) -> str:
        """Return the line ending for inserted text: the document's, except in Neovim.

        Neovim adds carriage returns when writing a file; inline completion would insert carriage
        returns as characters.
        """
        if self.client_name == NEOVIM:
            return "\n"
        return "\r\n" if "\r\n" in self.documents.get_text_document(uri).source else "\n"

    def note_changes(self, params: types.DidChangeTextDocumentParams) -> None:
        changes = [
            change for change in params.content_changes if isinstance(change, types.TextDocumentContentChangePartial)
        ]
        uri = params.text_document.uri
        if changes:
            self.session.note_edited(uri, self.text(uri), changes[-1].range.start.line)
        self.session.cancel_elsewhere()
        self.follow(uri)

    def follow(self, uri: str) -> None:
        """Record a document's edits, unless suggestions are off for the document.

        Before the settings are known, do nothing: a later call also records the opened text.
        """
        if not self.settings_known.is_set():
            return
        opened = self.opened_texts.pop(uri, None)
        if self.has_edits(uri):
            for text in (self.text(uri),) if opened is None else (opened, self.text(uri)):
                self.session.follow(uri, text)

    def show_error(self, error: PellucidError) -> None:
        """Show an error to the user, only once until the model server is ready again."""
        message = str(error)
        log.warning("%s", message)
        if message not in self._shown_errors:
            self._shown_errors.add(message)
            self.window_show_message(types.ShowMessageParams(types.MessageType.Warning, f"Pellucid: {message}"))

    def show_status(self) -> None:
        """Send a changed status, if the client wants the status, and show loading progress."""
        status = self.session.status()
        shown = {name: value for name, value in status.items() if name not in ("progress", "message")}
        if status["state"] in LOADING:
            self._loading_bar.show(status["message"], status["progress"])
        else:
            self._loading_bar.hide()
        if status["state"] == "ready" != self._shown_status.get("state"):
            self._shown_errors.clear()
        if self.settings.status_notifications and (status["state"] in LOADING or shown != self._shown_status):
            self.protocol.notify("pellucid/didChangeStatus", status)
        self._shown_status = shown

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine without waiting, and show its errors to the user."""
        task = asyncio.create_task(self._show_errors_of(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

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
            self.show_error(ConfigError(message))
        for package in ("pellucid", "pellucid_lsp"):
            logging.getLogger(package).setLevel(self.settings.log_level.upper())
        if self._session is None or self._session.settings == self.settings:
            return
        ring = self._session.ring
        await self._session.change_settings(self.settings)
        self.note_open_documents(new_ring=self._session.ring is not ring)

    async def apply_folders(self) -> None:
        await self.session.set_folders(self.folders)
        self.note_open_documents(new_ring=True)

    def note_open_documents(self, *, new_ring: bool) -> None:
        """Record the open documents again, because the session may have lost the documents."""
        for document in self.documents.text_documents.values():
            if new_ring:
                self.session.note_opened(document.uri, self.text(document.uri))
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
        for task in self._background:
            task.cancel()
        if self._session is not None:
            await self._session.aclose()

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log an internal error. A message box would only interrupt the user's typing."""
        log.error("%s", source, exc_info=error)

    def has_edits(self, uri: str) -> bool:
        """Return whether a document is neither a notebook cell nor in a language that is off."""
        language = self.documents.get_text_document(uri).language_id or ""
        is_cell = self.documents.get_notebook_document(cell_uri=uri) is not None
        return not is_cell and language not in self.settings.completion.languages_off

    async def _show_errors_of(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except PellucidError as error:
            self.show_error(error)
