"""Handlers of the protocol's standard methods."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from pellucid_lsp.documents import install_documents
from pellucid_lsp.editor_settings import SECTION
from pellucid_lsp.methods import (
    chat_methods,
    commit_methods,
    definition_methods,
    instructed_edits,
    next_edit_methods,
    pellucid_methods,
    surprise_methods,
)
from pellucid_lsp.server import NEOVIM, Pellucid
from pellucid_lsp.suggestion_items import completion_item, inline_item, word_before

END = types.Position(2**31 - 1, 0)
"""Past the last line: the end of a document."""

TRIGGERS = (".", "(", "[", "{", "=", ":", ",")
"""Characters, in addition to letters, after which clients without ghost text request completions.
"""


CODE_ACTIONS = [types.CodeActionKind.QuickFix, types.CodeActionKind.RefactorRewrite]


def create() -> Pellucid:
    server = Pellucid()
    register(server)
    _register_inline_completion(server)
    return server


def register(server: Pellucid) -> None:
    """Add the handlers except for inline completion, which depends on the client's dialect."""
    _register_lifecycle(server)
    _register_documents(server)
    own = (pellucid_methods, definition_methods, next_edit_methods, instructed_edits, surprise_methods)
    for methods in (*own, commit_methods, chat_methods):
        methods.register(server)
    _register_code_actions(server)


def _register_lifecycle(server: Pellucid) -> None:
    @server.feature(types.INITIALIZE)
    async def initialize(params: types.InitializeParams) -> None:
        """Apply the initial settings, and offer completion items to clients without ghost text."""
        server.client_name = "" if params.client_info is None else params.client_info.name
        install_documents(server).adds_carriage_returns = server.client_name == NEOVIM
        await server.apply_initial_settings(params)
        if server.needs_menu(params.capabilities):
            _register_completion(server)
        workspace = params.capabilities.workspace
        if not (workspace and workspace.configuration):
            server.settings_known.set()

    @server.feature(types.INITIALIZED)
    async def initialized(_: types.InitializedParams) -> None:
        try:
            await server.request_settings()
        finally:
            server.settings_known.set()
        workspace = server.client_capabilities.workspace
        if workspace and workspace.did_change_configuration and workspace.did_change_configuration.dynamic_registration:
            change = types.Registration(
                "pellucid-settings", types.WORKSPACE_DID_CHANGE_CONFIGURATION, {"section": SECTION}
            )
            # A client that refuses sends no changes, or sends changes without registration.
            with suppress(JsonRpcException):
                await server.client_register_capability_async(types.RegistrationParams([change]))

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    async def did_change_configuration(params: types.DidChangeConfigurationParams) -> None:
        await server.change_settings(params.settings)
        surprise_methods.forget_refused(server)

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    async def did_change_workspace_folders(_: types.DidChangeWorkspaceFoldersParams) -> None:
        await server.session.set_folders(server.documents.folder_paths)
        server.note_open_documents(new_ring=True)
        server.show_status()
        surprise_methods.forget_refused(server)

    @server.feature(types.SHUTDOWN)
    async def shutdown(*_: Any) -> None:
        await server.aclose()


def _register_documents(server: Pellucid) -> None:
    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def did_open(params: types.DidOpenTextDocumentParams) -> None:
        """Offer the document as context, and connect to the model server early."""
        uri = params.text_document.uri
        server.opened_texts[uri] = server.documents.text(uri)
        server.messages.run_in_background(prepare(uri))

    async def prepare(uri: str) -> None:
        await server.settings_known.wait()
        text = server.documents.text(uri)
        if server.session.policy.may_send(uri, text):
            server.session.note_opened(uri, text)
            server.follow(uri)
            server.session.prefill_opened(server.documents.cursor(uri, END))
            await server.session.connect()

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: types.DidChangeTextDocumentParams) -> None:
        server.note_changes(params)
        surprise_methods.follow(server, params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: types.DidCloseTextDocumentParams) -> None:
        server.opened_texts.pop(params.text_document.uri, None)
        server.session.note_closed(params.text_document.uri)
        surprise_methods.close(server, params.text_document.uri)

    @server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def notebook_did_close(params: types.DidCloseNotebookDocumentParams) -> None:
        for cell in params.cell_text_documents:
            server.session.note_closed(cell.uri)

    @server.feature("textDocument/didFocus")
    def did_focus(params: Any) -> None:
        """Ignore this notification of GitHub's clients: requests show the cursor."""


def _register_inline_completion(server: Pellucid) -> None:
    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def inline_completion(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        """Return ghost text: a suggestion while the user types, several if invoked by hand."""
        uri, context = params.text_document.uri, params.context
        selected = context.selected_completion_info
        invoked = context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
        suggestions = await server.suggestions(uri, params.position, selected, invoked=invoked, parts=True)
        documents = server.documents
        return types.InlineCompletionList([inline_item(one, selected, documents.line_end(uri)) for one in suggestions])


def _register_completion(server: Pellucid) -> None:
    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=list(TRIGGERS)))
    async def completion(params: types.CompletionParams) -> types.CompletionList:
        uri = params.text_document.uri
        suggestions = [
            one for one in await server.suggestions(uri, params.position, None, invoked=False) if one.sure.text
        ]
        codec = server.documents.position_codec
        items = [
            completion_item(one, codec.client_num_units(word_before(one.cursor)), server.documents.line_end(uri))
            for one in suggestions
        ]
        return types.CompletionList(is_incomplete=True, items=items)


def _register_code_actions(server: Pellucid) -> None:
    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(CODE_ACTIONS))
    async def code_actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        await server.settings_known.wait()
        found = [*surprise_methods.actions(server, params), *instructed_edits.actions(server, params)]
        only = params.context.only
        if only is None or "" in only:
            return found
        below = tuple(f"{kind}." for kind in only)
        return [one for one in found if one.kind in only or (one.kind or "").startswith(below)]
