"""Builds the items that clients of the Copilot language server show, in its present and in its former shape."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from pellucid.completion.suggestion import Suggestion
from pellucid_lsp.copilot.copilot_server import CopilotServer
from pellucid_lsp.suggestion_items import inline_item

ACCEPTED = "github.copilot.didAcceptCompletionItem"
"""The command that a client runs after it has inserted a suggestion."""


def present_item(
    server: CopilotServer, suggestion: Suggestion, selected: types.SelectedCompletionInfo | None
) -> types.InlineCompletionItem:
    """Return an item of ``textDocument/inlineCompletion``."""
    item = inline_item(suggestion, selected, server.line_end(suggestion.cursor.uri))
    command = types.Command(title="Pellucid: accepted", command=ACCEPTED, arguments=[suggestion.id])
    return types.InlineCompletionItem(insert_text=item.insert_text, range=item.range, command=command)


def former_item(server: CopilotServer, suggestion: Suggestion) -> dict[str, Any]:
    """Return an item of ``getCompletions``. Its text replaces the whole line.

    Clients remove the end of the text where the line has it already: as both end with the rest of the line, exactly that is removed.
    """
    uri, (line, character) = suggestion.cursor.uri, suggestion.cursor.position
    document = server.documents.get_text_document(uri)
    whole = document.lines[line].rstrip("\r\n")
    offset = document.offset_at_position(types.Position(line, character)) - document.offset_at_position(types.Position(line, 0))
    end = server.documents.position_codec.client_num_units(whole)
    return {
        "uuid": suggestion.id,
        "text": whole[:offset] + suggestion.text.replace("\n", server.line_end(uri)) + whole[offset:],
        "displayText": suggestion.text,
        "position": {"line": line, "character": character},
        "range": {"start": {"line": line, "character": 0}, "end": {"line": line, "character": end}},
        "docVersion": document.version,
    }
