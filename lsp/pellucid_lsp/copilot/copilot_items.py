"""Items for clients of the Copilot language server, in the current and the former format."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from pellucid.completion.suggestion import Suggestion
from pellucid_lsp.copilot.copilot_server import CopilotServer
from pellucid_lsp.suggestion_items import inline_item

ACCEPTED = "github.copilot.didAcceptCompletionItem"
"""The command that a client runs after inserting a suggestion."""


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
