"""Handlers that mark surprising code: request, hints, code actions, and marking on save."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from pellucid.completion.context.uris import file_path
from pellucid.errors import InvalidRequestError
from pellucid_lsp.editor_settings import SurpriseMode
from pellucid_lsp.inspection_json import Json
from pellucid_lsp.request_params import Params
from pellucid_lsp.server import Pellucid

if TYPE_CHECKING:
    from pellucid_lsp.surprise_marks import MarkedText

REPLACED = (
    "The search was cancelled: the document or a setting has changed, the marks were cleared, "
    "or another search has begun."
)


def register(server: Pellucid) -> None:
    @server.own_request("pellucid/surprise")
    async def surprise(given: Any) -> Json:
        marked, message = await _search(server, Params(given, "pellucid/surprise"))
        return {"marks": marked.as_json(), "message": message}

    @server.own_command("pellucid.showSurprise")
    async def show(*arguments: Any) -> Json:
        """Show surprising words as hints. Return the number and a sentence."""
        return await _show(server, _params(arguments, "pellucid.showSurprise"))

    @server.own_command("pellucid.showSurpriseInChanges")
    async def show_in_changes(*arguments: Any) -> Json:
        return await _show(server, _params(arguments, "pellucid.showSurpriseInChanges"), only_changes=True)

    @server.own_command("pellucid.clearSurprise")
    def clear(*arguments: Any) -> None:
        """Remove the marks of a document (default: all documents)."""
        uri = _params(arguments, "pellucid.clearSurprise").document() if arguments else None
        if uri is None:
            server.session.searches.cancel_all()
        else:
            server.session.searches.cancel(uri)
        for one in list(server.session.marked) if uri is None else [uri]:
            _forget(server, one)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def did_save(params: types.DidSaveTextDocumentParams) -> None:
        """Mark the lines that differ from the last commit, if the setting and git permit."""
        if server.settings.surprise is SurpriseMode.ON_SAVE:
            server.messages.run_in_background(_show_saved(server, params.text_document.uri))


def actions(server: Pellucid, params: types.CodeActionParams) -> list[types.CodeAction]:
    marked = server.session.marked.get(params.text_document.uri)
    return [] if marked is None else marked.actions(params.text_document.uri, params.range)


def follow(server: Pellucid, uri: str) -> None:
    """After a change of a document, cancel the search and remove outdated marks."""
    server.session.searches.cancel(uri)
    marked = server.session.marked.get(uri)
    if marked is not None:
        server.session.marked[uri] = marked.changed(server.documents.text(uri))
        _publish(server, uri)


def close(server: Pellucid, uri: str) -> None:
    server.session.searches.cancel(uri)
    _forget(server, uri)


def forget_refused(server: Pellucid) -> None:
    for uri in list(server.session.marked):
        if server.settings.surprise is SurpriseMode.OFF or _refusal(server, uri) is not None:
            _forget(server, uri)


async def _show(server: Pellucid, params: Params, *, only_changes: bool = False) -> Json:
    marked, message = await _search(server, params, only_changes=only_changes)
    uri = params.document()
    server.session.marked[uri] = marked
    _publish(server, uri)
    return {"marks": len(marked.marks), "message": message}


async def _show_saved(server: Pellucid, uri: str) -> None:
    from pellucid.completion.context.ignore_files import repository

    if _refusal(server, uri) is not None:
        return
    path = file_path(uri)
    if path is None or repository(path.parent) is None:
        return
    try:
        await _show(
            server, _params([{"textDocument": {"uri": uri}}], "pellucid.showSurpriseInChanges"), only_changes=True
        )
    except _ReplacedError:
        return


async def _search(server: Pellucid, params: Params, *, only_changes: bool = False) -> tuple[MarkedText, str]:
    from pellucid_lsp.surprise_marks import MarkedText  # Imported late, like the session.

    await server.settings_known.wait()
    uri, limit, path = params.document(), params.number("limit"), None
    if limit == 0:
        raise params.wrong("limit", "a whole number of 1 or more")
    if server.settings.surprise is SurpriseMode.OFF:
        raise InvalidRequestError("The setting pellucid.surprise is off.", param="textDocument")
    if server.documents.is_cell(uri):
        raise InvalidRequestError("The cells of notebooks are not searched for surprises.", param="textDocument")
    refusal = _refusal(server, uri)
    if refusal is not None:
        raise InvalidRequestError(refusal, param="textDocument")
    text, version = server.documents.text(uri), server.documents.get_text_document(uri).version
    parts, near = None, 0
    if (selected := params.part("range")) is not None:
        places = [_position(params, selected, name) for name in ("start", "end")]
        begin, end = (len(server.documents.cursor(uri, place).before) for place in places)
        if end <= begin:
            raise InvalidRequestError("The range is empty: its end should be after its start.", param="range")
        parts, near = [(begin, end)], begin
    elif params.part("position") is not None:
        near = len(server.documents.cursor(uri, _position(params, params, "position")).before)
    if only_changes:
        path = file_path(uri)
        if path is None:
            raise InvalidRequestError("Only files can be compared with their last commit.", param="textDocument")
    language = server.documents.get_text_document(uri).language_id or ""
    # The wait for git belongs to the search, so a document that becomes private ends both.
    search = partial(server.session.surprises.find, uri, text, language, parts, near, path)
    findings = await server.session.searches.run(uri, (version, parts and tuple(parts), near, path), search)
    if findings is None or server.documents.get_text_document(uri).version != version:
        raise _ReplacedError(REPLACED, param="textDocument")
    if only_changes and not findings.wanted:
        return MarkedText(text, (), server.documents.position_codec), "No line here differs from the last commit."
    marks = findings.marks
    if limit is not None:
        marks = tuple(sorted(sorted(marks, key=lambda mark: -mark.score)[:limit], key=lambda mark: mark.begin))
    message = _count(len(marks))
    if sum(end - begin for begin, end in findings.searched) < sum(end - begin for begin, end in findings.wanted):
        lines = ", ".join(
            f"{text.count(chr(10), 0, begin) + 1} to {text.count(chr(10), 0, max(end - 1, 0)) + 1}"
            for begin, end in findings.searched
        )
        message += f" Only the lines {lines} were read, as the text is long: select a part, or go to it, to read that."
    return MarkedText(text, marks, server.documents.position_codec), message


def _refusal(server: Pellucid, uri: str) -> str | None:
    return server.session.policy.search_refusal(server.documents.cursor(uri, types.Position(0, 0)))


class _ReplacedError(InvalidRequestError):
    """A cancelled search."""


def _count(marks: int) -> str:
    if not marks:
        return "No word of the code read is surprising. That is no check: in a test 7 of 10 bugs were not marked."
    if marks == 1:
        return "1 word is marked: the model finds another one likelier."
    return f"{marks} words are marked: the model finds other ones likelier."


def _publish(server: Pellucid, uri: str) -> None:
    marked, version = server.session.marked[uri], server.documents.get_text_document(uri).version
    server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, marked.diagnostics(), version))
    if not marked.marks:
        del server.session.marked[uri]


def _forget(server: Pellucid, uri: str) -> None:
    if server.session.marked.pop(uri, None) is not None:
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))


def _params(arguments: Any, command: str) -> Params:
    if len(arguments) != 1 or not isinstance(arguments[0], dict):
        raise InvalidRequestError(f"{command} needs one argument, an object with a textDocument.")
    return Params(json.loads(json.dumps(arguments[0]), object_hook=lambda given: SimpleNamespace(**given)), command)


def _position(params: Params, owner: Params, name: str) -> types.Position:
    place = params.required(name, owner.part(name))
    return types.Position(*(params.required(f"{name}.{unit}", place.number(unit)) for unit in ("line", "character")))
