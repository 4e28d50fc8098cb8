"""The language server's standard methods: each handler takes a message apart, asks the session, and puts the answer together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from pellucid.completion.context.uris import file_path
from pellucid.completion.settings import Popup
from pellucid.completion.suggestion import DocumentCursor, Suggestion, normalize_newlines
from pellucid.errors import ConfigError, PellucidError
from pellucid_lsp.documents import Documents, cursor_at, install
from pellucid_lsp.editor_settings import SECTION, EditorSettings
from pellucid_lsp.loading_progress import LoadingBar
from pellucid_lsp.protocol import Handler, Protocol, answering
from pellucid_lsp.suggestion_items import completion_item, inline_item, word_before

if TYPE_CHECKING:
    from pellucid_lsp.session import EditorSession

TRIGGERS = (".", "(", "[", "{", "=", ":", ",")
"""Characters after which clients without ghost text ask by themselves, besides letters."""

LOADING = ("starting", "loading")
"""States in which progress is shown."""

log = logging.getLogger(__name__)


class Pellucid(LanguageServer):
    """One editor's language server.

    The session, and all that ``initialize`` needs not, is imported after that is answered: editors wait for it.
    """

    def __init__(self) -> None:
        super().__init__(
            "pellucid",
            metadata.version("pellucid"),
            notebook_document_sync=types.NotebookDocumentSyncOptions(
                notebook_selector=[types.NotebookDocumentFilterWithNotebook(notebook="*")]
            ),
            protocol_cls=Protocol,
        )
        self.settings = EditorSettings()
        self._session: EditorSession | None = None
        self.initial = EditorSettings()
        """The settings of ``initializationOptions``, which those of ``workspace/configuration`` go over."""
        self.settled = asyncio.Event()
        """Set once the client's settings are known: before that nothing is sent anywhere."""
        self._beside: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()
        self._bar = LoadingBar(self)
        self._state: dict[str, Any] = {}

    @property
    def session(self) -> EditorSession:
        """What the editor's requests share."""
        if self._session is None:
            from pellucid_lsp.session import EditorSession

            self._session = EditorSession(self.settings, self.folders, self.state_changed)
        return self._session

    @property
    def folders(self) -> list[Path]:
        """The editor's workspace folders."""
        uris = [folder.uri for folder in self.workspace.folders.values()] or [self.workspace.root_uri or ""]
        return [path for uri in uris if uri and (path := file_path(uri))]

    @property
    def documents(self) -> Documents:
        """The open documents."""
        assert isinstance(self.workspace, Documents), "installed when the editor initialized"
        return self.workspace

    def request(self, method: str) -> Callable[[Handler], Handler]:
        """Register a handler of a request of our own; its PellucidErrors are answered in their own words."""
        return lambda handler: self.feature(method)(answering(handler))

    def order(self, name: str) -> Callable[[Handler], Handler]:
        """Register a handler of a command of our own, likewise."""
        return lambda handler: self.command(name)(answering(handler))

    async def suggestions(
        self, uri: str, position: types.Position, selected: types.SelectedCompletionInfo | None, invoked: bool
    ) -> list[Suggestion]:
        """The suggestions at a position; none if the document changes meanwhile, or is asked about elsewhere."""
        await self.settled.wait()
        version = self.documents.get_text_document(uri).version
        try:
            found = await self.session.suggest(self.cursor(uri, position, selected), version, invoked=invoked)
        except PellucidError as error:
            self.tell(error)
            return []
        finally:
            self.state_changed()
        if self.documents.get_text_document(uri).version != version or not self.session.enabled:
            return []
        self.session.delivered(found)
        return found

    def cursor(self, uri: str, position: types.Position, selected: types.SelectedCompletionInfo | None = None) -> DocumentCursor:
        """The place of a position, as if the selected item of the completion menu had been taken."""
        cursor = cursor_at(self.documents, uri, position)
        line, character = position.line, position.character
        if selected is not None:
            start = selected.range.start
            before = cursor_at(self.documents, uri, start).before + selected.text
            after = cursor_at(self.documents, uri, selected.range.end).after
            cursor = replace(cursor, before=before, after=after, selected=selected.text)
            line, character = start.line, start.character + self.documents.position_codec.client_num_units(selected.text)
        return replace(cursor, before=normalize_newlines(cursor.before), after=normalize_newlines(cursor.after), position=(line, character))

    def text(self, uri: str) -> str:
        """The text of a document, with line feeds at the ends of its lines."""
        return normalize_newlines(self.documents.get_text_document(uri).source)

    def line_end(self, uri: str) -> str:
        """What ends the lines of a document."""
        return "\r\n" if "\r\n" in self.documents.get_text_document(uri).source else "\n"

    def tell(self, error: PellucidError) -> None:
        """Show an error, once until it has gone away."""
        sentence = str(error)
        log.warning("%s", sentence)
        if sentence not in self._told:
            self._told.add(sentence)
            self.window_show_message(types.ShowMessageParams(types.MessageType.Warning, f"Pellucid: {sentence}"))

    def state_changed(self) -> None:
        """Show the state to a client that wants to, and a bar while the model server starts."""
        status = self.session.status()
        shown = {name: value for name, value in status.items() if name not in ("progress", "message")}
        if status["state"] in LOADING:
            self._bar.show(status["message"], status["progress"])
        else:
            self._bar.hide()
        if status["state"] == "ready" != self._state.get("state"):
            self._told.clear()
        if self.settings.status_notifications and (status["state"] in LOADING or shown != self._state):
            self.protocol.notify("pellucid/didChangeStatus", status)
        self._state = shown

    def beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for; what goes wrong with it is told."""
        task = asyncio.create_task(self._tolerantly(work))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def take_settings(self, given: object) -> None:
        """Take settings of a client, over those of ``initializationOptions``; each that is wrong is told, and is not taken."""
        self.settings, wrong = EditorSettings.take(given, self.initial)
        for sentence in wrong:
            self.tell(ConfigError(sentence))
        logging.getLogger("pellucid_lsp").setLevel(self.settings.log_level.upper())
        if self._session is None:
            return
        ring = self._session.ring
        await self._session.change(self.settings)
        if self._session.ring is not ring:  # a new one knows no document yet
            for document in self.documents.text_documents.values():
                self._session.opened(document.uri, self.text(document.uri))

    async def ask_settings(self) -> bool:
        """Take the settings that the client has, if it can be asked."""
        workspace = self.client_capabilities.workspace
        if not (workspace and workspace.configuration):
            return False
        items = [types.ConfigurationItem(section=SECTION)]
        answer = await self.workspace_configuration_async(types.ConfigurationParams(items))
        await self.take_settings(answer[0] if answer else None)
        return True

    async def leave(self) -> None:
        """Generate nothing any more."""
        for task in self._beside:
            task.cancel()
        if self._session is not None:
            await self._session.aclose()

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log what went wrong in our own code: a message box in the midst of typing would not help anybody."""
        log.error("%s", source, exc_info=error)

    async def _tolerantly(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except PellucidError as error:
            self.tell(error)


def create() -> Pellucid:
    """A language server with all its handlers."""
    from pellucid_lsp import inspection

    server = Pellucid()
    for register in (_lifecycle, _documents, _completion, inspection.register):
        register(server)
    return server


def _lifecycle(server: Pellucid) -> None:
    @server.feature(types.INITIALIZE)
    async def initialize(params: types.InitializeParams) -> None:
        install(server)
        await server.take_settings(params.initialization_options)
        server.initial = server.settings
        inline = params.capabilities.text_document and params.capabilities.text_document.inline_completion
        popup = server.settings.completion.popup
        if popup is Popup.ON or (popup is Popup.AUTO and not inline):
            _popup(server)
        workspace = params.capabilities.workspace
        if not (workspace and workspace.configuration):
            server.settled.set()

    @server.feature(types.INITIALIZED)
    async def initialized(_: types.InitializedParams) -> None:
        try:
            await server.ask_settings()
        finally:
            server.settled.set()
        workspace = server.client_capabilities.workspace
        if workspace and workspace.did_change_configuration and workspace.did_change_configuration.dynamic_registration:
            change = types.Registration("pellucid-settings", types.WORKSPACE_DID_CHANGE_CONFIGURATION, {"section": SECTION})
            with suppress(JsonRpcException):  # a client that refuses it sends no changes, or sends them unasked
                await server.client_register_capability_async(types.RegistrationParams([change]))

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def did_change_configuration(params: types.DidChangeConfigurationParams) -> None:
        if not await server.ask_settings() and isinstance(params.settings, dict) and SECTION in params.settings:
            await server.take_settings(params.settings[SECTION])

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    async def did_change_workspace_folders(_: types.DidChangeWorkspaceFoldersParams) -> None:
        await server.session.move(server.folders)

    @server.feature(types.SHUTDOWN)
    async def shutdown(*_: Any) -> None:
        await server.leave()


def _documents(server: Pellucid) -> None:
    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def did_open(params: types.DidOpenTextDocumentParams) -> None:
        server.beside(opened(params.text_document.uri))

    async def opened(uri: str) -> None:
        await server.settled.wait()
        text = server.text(uri)
        if server.session.allows(uri, text):
            server.session.opened(uri, text)
            await server.session.connect()

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: types.DidChangeTextDocumentParams) -> None:
        changes = [change for change in params.content_changes if isinstance(change, types.TextDocumentContentChangePartial)]
        if changes:
            uri = params.text_document.uri
            server.session.edited(uri, server.text(uri), changes[-1].range.start.line)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: types.DidCloseTextDocumentParams) -> None:
        server.session.closed(params.text_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def notebook_did_close(params: types.DidCloseNotebookDocumentParams) -> None:
        for cell in params.cell_text_documents:
            server.session.closed(cell.uri)

    @server.feature("textDocument/didFocus")
    def did_focus(params: Any) -> None:
        """Sent by clients of GitHub's server; a document says enough of itself by being completed in."""


def _completion(server: Pellucid) -> None:
    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def inline_completion(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        uri, context = params.text_document.uri, params.context
        selected = context.selected_completion_info
        invoked = context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
        found = await server.suggestions(uri, params.position, selected, invoked=invoked)
        return types.InlineCompletionList([inline_item(one, selected, server.line_end(uri)) for one in found])


def _popup(server: Pellucid) -> None:
    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=list(TRIGGERS)))
    async def completion(params: types.CompletionParams) -> types.CompletionList:
        uri = params.text_document.uri
        found = await server.suggestions(uri, params.position, None, invoked=False)
        codec = server.documents.position_codec
        items = [completion_item(one, codec.client_num_units(word_before(one.cursor)), server.line_end(uri)) for one in found]
        return types.CompletionList(is_incomplete=True, items=items)
