"""Handlers of next edits: requests, explanation, and the user's reactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lsprotocol import types

from pellucid.completion.edits.edits_explanation import EditsExplanation
from pellucid.errors import PellucidError
from pellucid_lsp.edit_items import EDIT_ACCEPTED, EditItem, edit_item, explanation_json, place_json
from pellucid_lsp.inspection_json import Json
from pellucid_lsp.request_params import Params
from pellucid_lsp.server import Pellucid

if TYPE_CHECKING:
    from pellucid.completion.edits.edit_memory import NextEdit


def register(server: Pellucid) -> None:
    @server.own_request("pellucid/nextEdits")
    async def own_edits(given: Any) -> Json:
        params = Params(given, "pellucid/nextEdits")
        edits = [item.as_own_edit() for item in await next_edits(server, _uri(params), params.position("position"))]
        return {"edits": edits, "calibrationNote": server.session.edit_memory.note}

    @server.own_request("pellucid/nextEditsElsewhere")
    async def edits_elsewhere(given: Any) -> Json:
        """Return the places elsewhere where the last edit may be repeated."""
        edits = await _next_edits_elsewhere(server, _uri(Params(given, "pellucid/nextEditsElsewhere")))
        return {"places": [place_json(edit) for edit in edits], "calibrationNote": server.session.edit_memory.note}

    @server.own_request("pellucid/explainEdits")
    async def explain_edits(given: Any) -> Json | None:
        return await _explain_edits(server, _uri(Params(given, "pellucid/explainEdits")))

    @server.own_command(EDIT_ACCEPTED)
    def edit_accepted(*_: Any) -> None:
        """Do nothing: the edit arrives as a change of the document."""

    @server.own_command("pellucid.editDismissed")
    def edit_dismissed(*arguments: Any) -> None:
        memory = server.session.edit_memory
        edit = memory.find(arguments[0]) if arguments and isinstance(arguments[0], str) else None
        if edit is not None:
            memory.dismiss(edit)


async def next_edits(server: Pellucid, uri: str, position: types.Position | None = None) -> list[EditItem]:
    """Return the likely next edits of a document, or [] after a change of the document."""
    await server.settings_known.wait()
    if not server.settings.next_edits or not server.has_edits(uri):
        return []
    documents, version = server.documents, server.documents.get_text_document(uri).version
    try:
        before = None if position is None else documents.cursor(uri, position).before
        cursor = None if before is None else (before.count("\n"), len(before) - before.rfind("\n") - 1)
        edits = await server.session.next_edits.own(uri, documents.text(uri), version, cursor)
    except PellucidError as error:
        server.messages.show_error(error)
        return []
    if documents.get_text_document(uri).version != version or not server.session.switch.is_on:
        return []
    return [edit_item(edit, documents, documents.line_end(uri)) for edit in edits]


async def _next_edits_elsewhere(server: Pellucid, uri: str) -> list[NextEdit]:
    await server.settings_known.wait()
    if not server.settings.next_edits or not server.has_edits(uri):
        return []
    documents, version = server.documents, server.documents.get_text_document(uri).version
    try:
        edits = await server.session.next_edits.elsewhere(uri, documents.text(uri), version)
    except PellucidError as error:
        server.messages.show_error(error)
        return []
    is_current = documents.get_text_document(uri).version == version
    return edits if is_current and server.session.switch.is_on else []


async def _explain_edits(server: Pellucid, uri: str) -> Json | None:
    await server.settings_known.wait()
    memory, off = server.session.edit_memory, None
    explanation, elsewhere = memory.explanation(uri), memory.explanation(uri, elsewhere=True)
    if not server.settings.next_edits:
        off = "The setting pellucid.nextEdits is false."
    elif not server.session.switch.is_on:
        off = "Suggestions are switched off."
    elif not server.has_edits(uri):
        off = "Suggestions are off for this document's language, or it is a cell of a notebook."
    elif not server.session.policy.may_send(uri, server.documents.text(uri)):
        off = "This document is not sent to the model."
    if off is not None:
        explanation, elsewhere = EditsExplanation(1.0, off), None
    return None if explanation is None else explanation_json(explanation, elsewhere, None if off else memory.note)


def _uri(params: Params) -> str:
    uri: str = params.required(
        "textDocument.uri", params.required("textDocument", params.part("textDocument")).text("uri")
    )
    return uri
