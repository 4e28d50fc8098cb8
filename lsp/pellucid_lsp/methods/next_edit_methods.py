"""Handlers of next edits: requests, explanation, and the user's reactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lsprotocol import types

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
        edits = [
            item.as_own_edit() for item in await next_edits(server, params.document(), params.position("position"))
        ]
        return {"edits": edits, "calibrationNote": server.session.edit_memory.note}

    @server.own_request("pellucid/nextEditsElsewhere")
    async def edits_elsewhere(given: Any) -> Json:
        edits = await _find(server, Params(given, "pellucid/nextEditsElsewhere").document(), elsewhere=True)
        return {"places": [place_json(edit) for edit in edits], "calibrationNote": server.session.edit_memory.note}

    @server.own_request("pellucid/explainEdits")
    async def explain_edits(given: Any) -> Json | None:
        return await _explain_edits(server, Params(given, "pellucid/explainEdits").document())

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
    edits, documents = await _find(server, uri, position), server.documents
    return [edit_item(edit, documents, documents.line_end(uri)) for edit in edits]


async def _find(
    server: Pellucid, uri: str, position: types.Position | None = None, *, elsewhere: bool = False
) -> list[NextEdit]:
    await server.settings_known.wait()
    if not server.settings.next_edits or not server.has_edits(uri):
        return []
    documents, requests, cursor = server.documents, server.session.next_edits, None
    version = documents.get_text_document(uri).version
    try:
        text = documents.text(uri)
        if elsewhere:
            edits = await requests.elsewhere(uri, text, version)
        else:
            if position is not None:
                before = documents.cursor(uri, position).before
                cursor = before.count("\n"), len(before) - before.rfind("\n") - 1
            edits = await requests.own(uri, text, version, cursor)
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
        from pellucid.completion.edits.edits_explanation import EditsExplanation

        explanation, elsewhere = EditsExplanation(1.0, off), None
    return None if explanation is None else explanation_json(explanation, elsewhere, None if off else memory.note)
