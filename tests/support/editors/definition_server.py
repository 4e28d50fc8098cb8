"""A language server for Python that finds definitions by Jedi, as in a user's editor."""

from __future__ import annotations

from typing import Any

import jedi  # type: ignore[import-untyped]  # Jedi has no types.
from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path

At = types.DefinitionParams | types.TypeDefinitionParams | types.HoverParams

server = LanguageServer("definitions", "1")


def found_by(params: At, method: str) -> list[Any]:
    """Return the names found by a method of Jedi at a position."""
    document = server.workspace.get_text_document(params.text_document.uri)
    place = document.position_codec.position_from_client_units(document.lines, params.position)
    script = jedi.Script(document.source, path=document.path)
    return list(getattr(script, method)(place.line + 1, place.character))


def places(params: At, method: str) -> list[types.Location]:
    locations = []
    for one in found_by(params, method):
        uri = None if one.module_path is None else from_fs_path(str(one.module_path))
        if uri is not None:
            start = types.Position((one.line or 1) - 1, one.column or 0)
            locations.append(types.Location(uri, types.Range(start, start)))
    return locations


@server.feature(types.TEXT_DOCUMENT_DEFINITION)
def definition(params: types.DefinitionParams) -> list[types.Location]:
    return places(params, "goto")


@server.feature(types.TEXT_DOCUMENT_TYPE_DEFINITION)
def type_definition(params: types.TypeDefinitionParams) -> list[types.Location]:
    return places(params, "infer")


@server.feature(types.TEXT_DOCUMENT_HOVER)
def hover(params: types.HoverParams) -> types.Hover:
    text = "\n".join(f"```python\n{one.description}\n```" for one in found_by(params, "infer"))
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, text))


if __name__ == "__main__":
    server.start_io()
