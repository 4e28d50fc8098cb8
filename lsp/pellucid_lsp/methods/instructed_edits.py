"""Handlers of edits by instruction and explanations of code: requests and code actions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from typing import Any

from lsprotocol import types

from pellucid.completion.document_cursor import DocumentCursor, normalize_newlines
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, Hunk, InstructedEdit
from pellucid.completion.edits.by_instruction.hunk_syntax import check_hunks
from pellucid.completion.edits.by_instruction.placed_code import placed_code
from pellucid.completion.edits.by_instruction.selected_lines import split_lines
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.finish import Usage
from pellucid.vocabulary.query import Priority, Terms
from pellucid_lsp.edit_items import line_change
from pellucid_lsp.inspection_json import OWN_SOURCE, Json, range_json, tokens_report
from pellucid_lsp.request_params import Params, place_of, result_token
from pellucid_lsp.server import Pellucid

INSTRUCT, EXPLAIN_CODE = "pellucid.instruct", "pellucid.explainCode"
"""The commands of the code actions. Arguments: URI, first line, line after the last, instruction.
"""

READY_MADE = ("Write a docstring", "Add type hints", "Write tests for this")
EXPLAIN = "Explain"

MAX_TITLE_CHARACTERS = 80
MAX_DIAGNOSTICS = 3

OFF = "The setting pellucid.instructedEdits is false."
LEFT_OUT = "Only the other changes were made."
DROPPED = "Nothing was changed: ask again, in other words."
CHANGED = "The selected lines have changed meanwhile, so the edit was dropped: ask again."

NUMBERS = count(1)


def register(server: Pellucid) -> None:
    @server.own_request("pellucid/edit")
    async def edit(given: Any) -> Json:
        """Return the edit of a range by an instruction.

        New lines are sent as progress if the client gave a token.
        """
        params = Params(given, "pellucid/edit")
        uri, range = place_of(params)
        instruction = params.required("instruction", params.text("instruction"))
        made = await _edit(server, uri, range, instruction, params.number("seed"), result_token(given, "pellucid/edit"))
        return _report(server, uri, made)

    @server.own_request("pellucid/applyCode")
    async def apply_code(given: Any) -> Json:
        """Return the edit that puts a code block of a chat into a document. No model is asked."""
        params = Params(given, "pellucid/applyCode")
        return _applied(server, params.document(), params.required("code", params.text("code")), params.part("range"))

    @server.own_request("pellucid/explainCode")
    async def explain(given: Any) -> Json:
        return {"text": await _explain(server, *place_of(Params(given, "pellucid/explainCode")))}

    @server.own_command(INSTRUCT)
    async def instruct(*arguments: Any) -> None:
        """Edit lines by an instruction. The editor applies the edit, with a single undo.

        Hunks that break the syntax are left out.
        """
        uri, first, last, instruction = _arguments(INSTRUCT, arguments, 4)
        made = await _edit(server, uri, _lines(first, last), instruction, None, None)
        if made.reason is not None:
            server.messages.show_info(made.reason)
            return
        hunks = [hunk for hunk in made.hunks if not hunk.breaks_syntax]
        if len(hunks) < len(made.hunks):
            server.messages.show_info(f"{made.note} {LEFT_OUT if hunks else DROPPED}")
        if not hunks:
            return
        result = await server.workspace_apply_edit_async(
            types.ApplyWorkspaceEditParams(_workspace_edit(server, uri, hunks), label=instruction)
        )
        if not result.applied:
            server.messages.show_info(CHANGED)

    @server.own_command(EXPLAIN_CODE)
    async def explain_code(*arguments: Any) -> None:
        uri, first, end = _arguments(EXPLAIN_CODE, arguments, 3)
        text = await _explain(server, uri, _lines(first, end))
        server.messages.show_info(text)


def actions(server: Pellucid, params: types.CodeActionParams) -> list[types.CodeAction]:
    """Return ready-made instructions for a selection and for diagnostics of other sources."""
    if not server.settings.instructed_edits or not server.session.switch.is_on:
        return []
    return [*_for_diagnostics(params), *_for_selection(params)]


async def _edit(
    server: Pellucid, uri: str, range: types.Range, instruction: str, seed: int | None, token: int | str | None
) -> InstructedEdit:
    """Return an edit, empty and with a reason if the lines have changed meanwhile."""
    await _require_on(server)
    query, cursor = _query(server, uri, range, instruction)
    version = server.documents.get_text_document(uri).version
    before = server.documents.text(uri)
    async with aclosing(server.session.instructed.edit(cursor, replace(query, seed=seed))) as items:
        async for item in items:
            if isinstance(item, InstructedEdit):
                made = item
                break
            if token is not None:
                server.protocol.notify("$/progress", types.ProgressParams(token, {"lines": list(item.lines)}))
            if server.documents.get_text_document(uri).version != version and not _same_lines(
                before, server.documents.text(uri), query
            ):
                return _dropped(query)
        else:
            raise AssertionError("an edit ends with its hunks")
    is_new = server.documents.get_text_document(uri).version != version
    same = not is_new or _same_lines(before, server.documents.text(uri), query)
    return made if same else _dropped(query, made)


def _applied(server: Pellucid, uri: str, code: str, range: Params | None) -> Json:
    _require_open(server, uri)
    selected = None
    if range is not None:
        start, end = (range.required(name, range.position(name)) for name in ("start", "end"))
        selected = (start.line, _end(types.Range(start, end)))
    text = server.documents.text(uri)
    language = server.documents.get_text_document(uri).language_id or ""
    hunks, note = check_hunks(split_lines(text), placed_code(text, code, selected), "\n", language)
    name = server.session.policy.filename(uri)
    why = f"{name} already has this code, or no line of it: select the lines that the code replaces."
    return _report(server, uri, InstructedEdit(0, text, text, tuple(hunks), Usage(), None if hunks else why, note))


async def _explain(server: Pellucid, uri: str, range: types.Range) -> str:
    await _require_on(server)
    query, cursor = _query(server, uri, range, EXPLAIN, "explain")
    if not query.selection.strip():
        raise InvalidRequestError("The range has no code to explain: select some lines.", param="range")
    return await server.session.instructed.explain(cursor, query)


async def _require_on(server: Pellucid) -> None:
    await server.settings_known.wait()
    if not server.settings.instructed_edits:
        raise InvalidRequestError(OFF)


def _query(
    server: Pellucid, uri: str, range: types.Range, instruction: str, verb: str = "edit"
) -> tuple[EditQuery, DocumentCursor]:
    """Return the query for a range, and the cursor at the start.

    A newer query with the same verb replaces this query.
    """
    _require_open(server, uri)
    start, end = server.documents.cursor(uri, range.start), server.documents.cursor(uri, range.end)
    if not end.before.startswith(start.before):
        raise InvalidRequestError("The range ends before it begins.", param="range")
    selection = end.before[len(start.before) :]
    # In a notebook, the cells above: lines are counted in the cell.
    above = server.documents.cursor(uri, types.Position(0, 0)).before
    before, after = start.before[len(above) :], server.documents.text(uri)[len(end.before) - len(above) :]
    if (
        range.start.line >= len(server.documents.get_text_document(uri).lines)
        and not after
        and not before.endswith("\n")
    ):
        before += "\n"  # The range is below a last line without a line ending.
    terms = Terms(Priority.CHAT, key=f"lsp-{os.getpid()}:{verb}:{uri}")
    path = server.session.policy.filename(uri)
    return EditQuery(before, selection, after, instruction, path=path, language=start.language, terms=terms), start


def _require_open(server: Pellucid, uri: str) -> None:
    if uri not in server.documents.text_documents:
        raise InvalidRequestError(
            f"{uri} is not open in this editor, or not as a file: open it first.", param="textDocument"
        )


def _same_lines(before: str, now: str, query: EditQuery) -> bool:
    selected = query.prefix + query.selection
    end = before.find("\n", len(selected))
    if end < 0:
        return now.startswith(before) and now[len(before) : len(before) + 1] in ("", "\n")
    return now.startswith(before[: end + 1])


def _dropped(query: EditQuery, made: InstructedEdit | None = None) -> InstructedEdit:
    if made is None:
        made = InstructedEdit(query.prefix.count("\n"), query.selection, query.selection, (), Usage())
    return replace(made, text=made.old, hunks=(), reason=CHANGED, note=None)


def _workspace_edit(server: Pellucid, uri: str, hunks: Sequence[Hunk]) -> types.WorkspaceEdit:
    """Return an edit, limited to this version if the editor supports versions."""
    end = server.documents.line_end(uri)
    edits = [types.TextEdit(*line_change(server.documents, uri, one.first, one.old, one.new, end)) for one in hunks]
    workspace = server.client_capabilities.workspace
    if workspace is None or workspace.workspace_edit is None or not workspace.workspace_edit.document_changes:
        return types.WorkspaceEdit({uri: edits})
    document = types.OptionalVersionedTextDocumentIdentifier(uri, server.documents.get_text_document(uri).version)
    return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(document, edits)])


def _report(server: Pellucid, uri: str, made: InstructedEdit) -> Json:
    codec, end = server.documents.position_codec, server.documents.line_end(uri)
    hunks = []
    for hunk in made.hunks:
        where, text = line_change(server.documents, uri, hunk.first, hunk.old, hunk.new, end)
        hunks.append(
            {
                "range": range_json(where),
                "newText": text,
                "first": hunk.first,
                "old": list(hunk.old),
                "new": list(hunk.new),
                "breaksSyntax": hunk.breaks_syntax,
                "tokens": tokens_report(hunk.tokens, None, codec),
            }
        )
    text = normalize_newlines(made.text).replace("\n", end)
    return {
        "id": f"instructed-{next(NUMBERS)}",
        "text": text,
        "hunks": hunks,
        "reason": made.reason,
        "note": made.note,
    }


def _for_diagnostics(params: types.CodeActionParams) -> list[types.CodeAction]:
    actions = []
    # Marks of surprising code already have actions: the alternatives.
    others = [one for one in params.context.diagnostics if one.source != OWN_SOURCE]
    for one in others[:MAX_DIAGNOSTICS]:
        message = one.message if isinstance(one.message, str) else one.message.value
        first, end = one.range.start.line, _end(one.range)
        title = f"Fix: {' '.join(message.split())}"
        short = title if len(title) <= MAX_TITLE_CHARACTERS else f"{title[: MAX_TITLE_CHARACTERS - 1]}\u2026"
        actions.append(
            _action(short, types.CodeActionKind.QuickFix, INSTRUCT, params, first, end, title, diagnostics=[one])
        )
    return actions


def _for_selection(params: types.CodeActionParams) -> list[types.CodeAction]:
    if params.range.start == params.range.end:
        return []
    first, end = params.range.start.line, _end(params.range)
    kind = types.CodeActionKind.RefactorRewrite
    actions = [_action(title, kind, INSTRUCT, params, first, end, f"{title}.") for title in READY_MADE]
    return [*actions, _action(EXPLAIN, kind, EXPLAIN_CODE, params, first, end)]


def _action(
    title: str,
    kind: types.CodeActionKind,
    command: str,
    params: types.CodeActionParams,
    first: int,
    end: int,
    *instruction: str,
    diagnostics: Sequence[types.Diagnostic] | None = None,
) -> types.CodeAction:
    arguments = [params.text_document.uri, first, end, *instruction]
    return types.CodeAction(
        f"Pellucid: {title}",
        kind,
        diagnostics,
        command=types.Command(f"Pellucid: {title}", command, arguments=arguments),
    )


def _arguments(command: str, given: Sequence[Any], count: int) -> tuple[Any, ...]:
    kinds = (str, int, int, str)[:count]
    if len(given) != count or not all(isinstance(one, kind) for one, kind in zip(given, kinds, strict=True)):
        raise InvalidRequestError(
            f"{command} needs the arguments of its code action: a URI, two line numbers and an instruction."
        )
    return tuple(given)


def _lines(first: int, end: int) -> types.Range:
    return types.Range(types.Position(first, 0), types.Position(end, 0))


def _end(range: types.Range) -> int:
    """Return the line after the last line of a range."""
    within = range.end.character > 0 or range.end.line == range.start.line
    return range.end.line + within
