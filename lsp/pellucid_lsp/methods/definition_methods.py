"""The notifications about definitions found by the editor's other language servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lsprotocol import types

from pellucid.completion.context.definition_reader import FoundDefinition
from pellucid.completion.context.names_near_cursor import NamePlace
from pellucid.completion.document_cursor import DocumentCursor
from pellucid_lsp.request_params import Params
from pellucid_lsp.server import Pellucid

FIND = "pellucid/findDefinitions"

MAX_NAMES, MAX_PLACES = 100, 8
"""Limits of a client's answer: further names, and further places of a name, are ignored."""


def register(server: Pellucid) -> None:
    server.ask_definitions = lambda cursor, names: ask(server, cursor, names)

    @server.feature("pellucid/definitions")
    async def definitions(given: Any) -> None:
        """Remember where names are defined; the server asks again for names without an answer."""
        params = Params(given, "pellucid/definitions")
        uri = params.document()
        await server.settings_known.wait()
        found = {
            str(name.required("name", name.text("name"))): [
                _found(server, name, place) for place in name.parts("definitions")[:MAX_PLACES]
            ]
            for name in params.parts("names")[:MAX_NAMES]
        }
        if uri in server.documents.text_documents:
            await server.session.note_definitions(uri, found)


def ask(server: Pellucid, cursor: DocumentCursor, names: Sequence[NamePlace]) -> bool:
    """Ask the client for definitions, unless the document has changed or is a notebook's cell.

    A cell's cursor has the text of the other cells, too.
    """
    document, codec = server.documents.get_text_document(cursor.uri), server.documents.position_codec
    if server.documents.text(cursor.uri) != cursor.before + cursor.after:
        return False
    lines = document.lines
    places = [
        {
            "name": place.name,
            "position": types.Position(place.line, codec.client_num_units(lines[place.line][: place.column])),
        }
        for place in names
    ]
    asked = {"uri": cursor.uri, "version": document.version}
    server.protocol.notify(FIND, {"textDocument": asked, "names": places})
    return True


def _found(server: Pellucid, name: Params, place: Params) -> FoundDefinition:
    uri = str(place.required("uri", place.text("uri")))
    start = place.required("range", place.part("range")).position("start")
    position = place.required("range.start", start)
    text = server.documents.text(uri) if uri in server.documents.text_documents else None
    return FoundDefinition(
        name.text("name") or "", uri, position.line, position.character, text, place.text("description") or ""
    )
