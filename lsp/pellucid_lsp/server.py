"""Defines the language server of one editor: its settings and session, and what its handlers share."""

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
    from pellucid.completion.edits.next_edits import NextEdit
    from pellucid_lsp.session import EditorSession

NEOVIM = "Neovim"
"""The name by which Neovim introduces itself, whichever plugin is in use."""

LOADING = ("starting", "loading")
"""The states in which progress is shown."""

log = logging.getLogger(__name__)


class Pellucid(LanguageServer):
    """The language server of one editor.

    Whatever ``initialize`` does not need, such as the session, is imported after its answer,
    because editors wait for that.
    """

    protocol_class: type[Protocol] = Protocol
    """Reads and writes the messages."""

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
        """The editor's name, empty if it did not give one."""
        self.settings = EditorSettings()
        self.initial_settings = EditorSettings()
        """The settings of ``initializationOptions``.
        Those of ``workspace/configuration`` override them.
        """
        self.settings_known = asyncio.Event()
        """Set once the client's settings are known. Nothing is sent anywhere before that."""
        self.opened_texts: dict[str, str] = {}
        """The texts of documents when they were opened, until their edits are followed: a user may
        type before the settings are known.
        """
        self._session: EditorSession | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._shown_errors: set[str] = set()
        self._loading_bar = LoadingBar(self)
        self._shown_status: dict[str, Any] = {}

    @property
    def session(self) -> EditorSession:
        """The state that the editor's requests share."""
        if self._session is None:
            from pellucid_lsp.session import EditorSession

            self._session = EditorSession(self.settings, self.folders, self.show_status)
        return self._session

    @property
    def folders(self) -> list[Path]:
        """The editor's workspace folders."""
        uris = [folder.uri for folder in self.workspace.folders.values()] or [self.workspace.root_uri or ""]
        return [path for uri in uris if uri and (path := file_path(uri))]

    @property
    def documents(self) -> Documents:
        """The open documents."""
        assert isinstance(self.workspace, Documents), "installed by the handler of initialize"
        return self.workspace

    def own_request(self, method: str) -> Callable[[Handler], Handler]:
        """Return a decorator that registers the handler of a request of ours.

        PellucidErrors become error responses.
        """
        return lambda handler: self.feature(method)(with_error_responses(handler))

    def own_command(self, name: str) -> Callable[[Handler], Handler]:
        """Return a decorator that registers the handler of a command of ours.

        PellucidErrors become error responses.
        """
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
        """Return the suggestions at a position; none if the document changes meanwhile, or a newer request replaces this one.

        ``parts``: the answer can say that it is only the beginning of a suggestion. Clients that
        repeat their request then have a setting.
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
        """Return the edits that may come next in a document; none if it changes meanwhile, or a newer request replaces this one.

        ``position`` is the cursor's, if the request has it.
        """
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
        """Return the edits that may come next in other documents and files; none if this document changes meanwhile."""
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
        """Return the cursor at a position, as if the selected item of the completion menu had been accepted."""
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
        r"""Return the text of a document, with ``\n`` at the end of each line."""
        return normalize_newlines(self.documents.get_text_document(uri).source)

    def line_end(self, uri: str) -> str:
        """Return the line ending of text that is inserted into a document: the document's own.

        Neovim adds the carriage returns when it writes a file, and its inline completion would
        insert those of an item as characters.
        """
        if self.client_name == NEOVIM:
            return "\n"
        return "\r\n" if "\r\n" in self.documents.get_text_document(uri).source else "\n"

    def note_changes(self, params: types.DidChangeTextDocumentParams) -> None:
        """Note where a document was edited."""
        changes = [
            change for change in params.content_changes if isinstance(change, types.TextDocumentContentChangePartial)
        ]
        uri = params.text_document.uri
        if changes:
            self.session.note_edited(uri, self.text(uri), changes[-1].range.start.line)
        self.session.cancel_elsewhere()
        self.follow(uri)

    def follow(self, uri: str) -> None:
        """Follow the edits of a document, unless suggestions are off for its language, or it is a cell of a notebook.

        Before the settings are known, do nothing: the edits until then are found later, in the text
        that was opened.
        """
        if not self.settings_known.is_set():
            return
        opened = self.opened_texts.pop(uri, None)
        if self.has_edits(uri):
            for text in (self.text(uri),) if opened is None else (opened, self.text(uri)):
                self.session.follow(uri, text)

    def show_error(self, error: PellucidError) -> None:
        """Show an error to the user, but not again until the server has been ready in between."""
        message = str(error)
        log.warning("%s", message)
        if message not in self._shown_errors:
            self._shown_errors.add(message)
            self.window_show_message(types.ShowMessageParams(types.MessageType.Warning, f"Pellucid: {message}"))

    def show_status(self) -> None:
        """Send the status if the client asked for it and it has changed.

        Show a progress bar while the model server starts.
        """
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
        """Run something that no caller waits for. Show its errors to the user."""
        task = asyncio.create_task(self._show_errors_of(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def needs_menu(self, client: types.ClientCapabilities) -> bool:
        """Return whether suggestions are offered as items of the completion menu."""
        has_ghost_text = client.text_document is not None and client.text_document.inline_completion is not None
        popup = self.settings.completion.popup
        return popup is Popup.ON or (popup is Popup.AUTO and not has_ghost_text)

    async def apply_initial_settings(self, params: types.InitializeParams) -> None:
        """Apply the settings that ``initialize`` brings. Later ones override them."""
        await self.apply_settings(params.initialization_options)
        self.initial_settings = self.settings

    async def change_settings(self, given: object) -> None:
        """Apply changed settings: request them or, if the client does not support that, take them from its notification."""
        if not await self.request_settings() and isinstance(given, dict) and SECTION in given:
            await self.apply_settings(given[SECTION])

    def read_settings(self, given: object) -> tuple[EditorSettings, tuple[str, ...]]:
        """Return a client's settings over the initial ones, and one sentence for each invalid one."""
        return EditorSettings.read_valid(given, self.initial_settings)

    async def apply_settings(self, given: object) -> None:
        """Apply a client's settings over the initial ones.

        Report and ignore each invalid setting.
        """
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
        """Apply a change of the editor's workspace folders."""
        await self.session.set_folders(self.folders)
        self.note_open_documents(new_ring=True)

    def note_open_documents(self, *, new_ring: bool) -> None:
        """Follow the open documents, which the session may have forgotten.

        A new ring does not know them yet.
        """
        for document in self.documents.text_documents.values():
            if new_ring:
                self.session.note_opened(document.uri, self.text(document.uri))
            self.follow(document.uri)

    async def request_settings(self) -> bool:
        """Request the client's settings and apply them. Return whether the client supports that."""
        workspace = self.client_capabilities.workspace
        if not (workspace and workspace.configuration):
            return False
        items = [types.ConfigurationItem(section=SECTION)]
        answer = await self.workspace_configuration_async(types.ConfigurationParams(items))
        await self.apply_settings(answer[0] if answer else None)
        return True

    async def aclose(self) -> None:
        """Cancel all work."""
        for task in self._background:
            task.cancel()
        if self._session is not None:
            await self._session.aclose()

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log an error in our own code. A message box would only interrupt the user's typing."""
        log.error("%s", source, exc_info=error)

    def has_edits(self, uri: str) -> bool:
        """Return whether edits may come next in a document: not in the cells of notebooks and languages that are switched off."""
        language = self.documents.get_text_document(uri).language_id or ""
        is_cell = self.documents.get_notebook_document(cell_uri=uri) is not None
        return not is_cell and language not in self.settings.completion.languages_off

    async def _show_errors_of(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except PellucidError as error:
            self.show_error(error)
