"""Handlers of the Copilot language server's methods about suggestions."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import Any

from lsprotocol import types

from pellucid.completion.suggestion import Suggestion
from pellucid_lsp.copilot import sign_in_methods
from pellucid_lsp.copilot.copilot_client_quirks import COMMAND_NOTIFICATION
from pellucid_lsp.copilot.copilot_server import CopilotServer
from pellucid_lsp.methods import standard_methods
from pellucid_lsp.methods.next_edit_methods import next_edits
from pellucid_lsp.methods.reactions import accept_all, accept_part, dismiss
from pellucid_lsp.request_params import Params
from pellucid_lsp.suggestion_items import inline_item

ACCEPTED = "github.copilot.didAcceptCompletionItem"
"""The command that a client runs after inserting a suggestion."""


Json = dict[str, Any]


def present_item(
    server: CopilotServer, suggestion: Suggestion, selected: types.SelectedCompletionInfo | None
) -> types.InlineCompletionItem:
    item = inline_item(suggestion, selected, server.documents.line_end(suggestion.cursor.uri))
    command = types.Command(title="Pellucid: accepted", command=ACCEPTED, arguments=[suggestion.id])
    return types.InlineCompletionItem(insert_text=item.insert_text, range=item.range, command=command)


def former_item(server: CopilotServer, suggestion: Suggestion) -> dict[str, Any]:
    """Return an item of ``getCompletions``, with text for the whole line.

    Clients remove a common ending of the text and the line: exactly the rest of the line.
    """
    uri = suggestion.cursor.uri
    document, codec = server.documents.get_text_document(uri), server.documents.position_codec
    at = codec.position_from_client_units(document.lines, types.Position(*suggestion.cursor.position))
    line = document.lines[at.line].rstrip("\r\n")
    text = suggestion.text.replace("\n", server.documents.line_end(uri))
    return {
        "uuid": suggestion.id,
        "text": line[: at.character] + text + line[at.character :],
        "displayText": suggestion.text,
        "position": {"line": at.line, "character": codec.client_num_units(line[: at.character])},
        "range": {
            "start": {"line": at.line, "character": 0},
            "end": {"line": at.line, "character": codec.client_num_units(line)},
        },
        "docVersion": document.version,
    }


def create() -> CopilotServer:
    server = CopilotServer()
    for register in (
        standard_methods.register,
        sign_in_methods.register,
        _register_requests,
        _register_reactions,
        _register_edits,
    ):
        register(server)
    return server


def _register_requests(server: CopilotServer) -> None:
    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    async def inline_completion(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        selected = params.context.selected_completion_info
        invoked = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
        suggestions = await server.suggestions(params.text_document.uri, params.position, selected, invoked)
        return types.InlineCompletionList([present_item(server, one, selected) for one in suggestions])

    @server.own_request("getCompletions")
    async def get_completions(given: Any) -> Json:
        params = Params(given, "getCompletions")
        uri, position = _place(params)
        with server.automatic_request((uri, position.line, position.character)):
            return await _completions(server, params, uri, position, invoked=False)

    @server.own_request("getCompletionsCycling")
    async def get_completions_cycling(given: Any) -> Json:
        """Return several suggestions.

        LSP-copilot sends both requests at each pause of the user. The second request then gets the
        answer of the first, because the user has not asked for more.
        """
        params = Params(given, "getCompletionsCycling")
        uri, position = _place(params)
        invoked = not server.is_requested((uri, position.line, position.character))
        return await _completions(server, params, uri, position, invoked=invoked)


def _register_reactions(server: CopilotServer) -> None:
    @server.own_request("notifyShown")
    def notify_shown(_: Any) -> str:
        """Confirm only: shown and unshown suggestions are treated alike."""
        return "OK"

    @server.own_request("notifyAccepted")
    def notify_accepted(given: Any) -> str:
        params = Params(given, "notifyAccepted")
        id, length = params.text("uuid"), params.number("acceptedLength")
        if length is None:
            accept_all(server, id)
        else:
            accept_part(server, id, length, from_line_start=True)
        return "OK"

    @server.own_request("notifyRejected")
    def notify_rejected(given: Any) -> str:
        for id in Params(given, "notifyRejected").texts("uuids"):
            dismiss(server, id)
        return "OK"

    @server.own_command(ACCEPTED)
    def accepted(*arguments: Any) -> None:
        accept_all(server, *arguments)

    @server.feature(COMMAND_NOTIFICATION)
    async def execute_command(given: Any) -> None:
        params = Params(given, types.WORKSPACE_EXECUTE_COMMAND)
        command = server.protocol.fm.commands.get(params.text("command") or "")
        if command is not None:
            result = command(*(getattr(given, "arguments", None) or []))
            if isawaitable(result):
                await result


def _register_edits(server: CopilotServer) -> None:
    @server.own_request("textDocument/copilotInlineEdit")
    async def copilot_inline_edit(given: Any) -> Json:
        """Return the likely next edits, or no edits for another version of the document."""
        params = Params(given, "textDocument/copilotInlineEdit")
        document: Params = params.required("textDocument", params.part("textDocument"))
        uri = document.required("uri", document.text("uri"))
        if not await server.has_version(uri, document.number("version"), None):
            return {"edits": []}
        items = await next_edits(server, uri, params.position("position"))
        return {"edits": [item.as_copilot_edit() for item in items]}

    @server.own_request("textDocument/copilotPanelCompletion")
    def copilot_panel_completion(_: Any) -> Json:
        """Return no items: users request several suggestions at the cursor."""
        return {"items": []}

    @server.own_request("getPanelCompletions")
    def get_panel_completions(given: Any) -> Json:
        """Announce 0 suggestions, then report the end, because panels wait for the end."""
        panel = Params(given, "getPanelCompletions").text("panelId")
        done = {"panelId": panel, "status": "OK"}
        asyncio.get_running_loop().call_soon(server.protocol.notify, "PanelSolutionsDone", done)  # After the answer.
        return {"solutionCountTarget": 0}


async def _completions(
    server: CopilotServer, params: Params, uri: str, position: types.Position, invoked: bool
) -> Json:
    document = _document(params)
    if not await server.has_version(uri, document.number("version"), document.text("source")):
        return {"completions": []}
    suggestions = await server.suggestions(uri, position, None, invoked)
    return {"completions": [former_item(server, one) for one in suggestions]}


def _place(params: Params) -> tuple[str, types.Position]:
    document = _document(params)
    position: Params = document.required("position", document.part("position"))
    line, character = (position.required(name, position.number(name)) for name in ("line", "character"))
    return document.required("uri", document.text("uri")), types.Position(line, character)


def _document(params: Params) -> Params:
    document: Params = params.required("doc", params.part("doc"))
    return document
