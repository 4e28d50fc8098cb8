"""Handlers of the custom methods and commands, and of the hover over an accepted suggestion."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.workspace import PositionCodec

from pellucid.completion.document_cursor import DocumentCursor, normalize_newlines
from pellucid.completion.find_accepted_suggestion import locate, token_at
from pellucid.completion.suggestion import Suggestion, drop_typed
from pellucid.errors import InvalidRequestError, UnavailableError
from pellucid.vocabulary.query import BACKGROUND, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import MAX_ALTERNATIVES, Token
from pellucid_lsp.inspection_json import (
    Json,
    explanation_report,
    hover_markdown,
    ranges_of,
    suggestion_report,
    tokens_report,
)
from pellucid_lsp.methods import surprise_methods
from pellucid_lsp.methods.reactions import accept_all, accept_part, dismiss
from pellucid_lsp.request_params import Params
from pellucid_lsp.server import Pellucid
from pellucid_lsp.suggestion_items import ACCEPTED, inline_item

if TYPE_CHECKING:
    from pellucid.completion.explanation import Explanation

NEAR = 200
"""Number of characters before and after a suggestion that must be unchanged for a branch."""

SCORE_LIMIT = 20_000
"""Maximum number of characters in a range of ``pellucid/score``, and in the text before."""


def register(server: Pellucid) -> None:
    _register_requests(server)
    _register_notifications(server)
    _register_commands(server)


def _register_requests(server: Pellucid) -> None:
    @server.own_request("pellucid/tokens")
    def tokens(given: Any) -> Json | None:
        """Return the tokens of a suggestion, by id or by a position in accepted text."""
        params = Params(given, "pellucid/tokens")
        id, cursor = params.text("id"), _position(params)
        if id is None and cursor is None:
            raise InvalidRequestError(
                "pellucid/tokens needs an id, or a textDocument and a position: send one of them."
            )
        suggestion = server.session.suggestions.get(id) if id is not None else None
        if id is None and cursor is not None:
            accepted = _accepted_at(server, *cursor)
            suggestion = None if accepted is None else accepted[0]
        if suggestion is None:
            return None
        suggestions = server.session.suggestions
        suggestion = suggestions.accepted_part(suggestion)
        return suggestion_report(
            suggestion,
            suggestions.is_accepted(suggestion.id),
            _start(server, suggestion),
            server.documents.position_codec,
        )

    @server.own_request("pellucid/branch")
    async def branch(given: Any) -> types.InlineCompletionItem | None:
        params = Params(given, "pellucid/branch")
        id, index, alternative = (
            _needed(params, name, read)
            for name, read in (("id", "text"), ("token", "number"), ("alternative", "number"))
        )
        suggestion = server.session.suggestions.get(id)
        if suggestion is None:
            raise InvalidRequestError(
                f"pellucid/branch: the suggestion {id} is no longer known; request a new one.", param="id"
            )
        cursor, range = _current_cursor(server, suggestion)
        server.session.policy.require_sendable(cursor)
        branched = await server.session.completer.branch(suggestion, cursor, index, alternative)
        if branched is None:
            return None
        selected = types.SelectedCompletionInfo(range, cursor.selected)
        return inline_item(branched, selected, server.documents.line_end(cursor.uri))

    @server.own_request("pellucid/explain")
    async def explain(given: Any) -> Json | None:
        params = Params(given, "pellucid/explain")
        document = params.part("textDocument")
        uri = None if document is None else document.text("uri")
        explanation = server.session.journal.explanations.find(id=params.text("id"), uri=uri)
        return None if explanation is None else explanation_report(explanation, await _prompt_text(server, explanation))

    @server.own_request("pellucid/score")
    async def score(given: Any) -> Json:
        return await _score(server, Params(given, "pellucid/score"))

    @server.own_request("pellucid/status")
    def status(_: Any) -> Json:
        return server.session.status()

    @server.own_request("pellucid/server")
    async def model_server(_: Any) -> Json:
        """Return the address of the model server, started if necessary, and the key.

        Raise UnavailableError if there is no server.
        """
        await server.settings_known.wait()
        address = await server.session.launcher.address()
        return {"url": address.url, "key": address.key}

    @server.own_request("pellucid/attachment")
    async def attachment(given: Any) -> Json:
        """Return a text's name in a chat, and why the text is never sent, or null."""
        params = Params(given, "pellucid/attachment")
        await server.settings_known.wait()
        uri, text, policy = params.document(), _needed(params, "text", "text"), server.session.policy
        return {"name": policy.filename(uri), "refusal": policy.privacy.refusal(None, text, uri)}

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        accepted = _accepted_at(server, params.text_document.uri, params.position)
        if accepted is None:
            return None
        return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, hover_markdown(*accepted)))


def _register_notifications(server: Pellucid) -> None:
    @server.feature("pellucid/didShow")
    def did_show(given: Any) -> None:
        """Ignore the notification: shown and unshown suggestions are treated alike."""

    @server.feature("pellucid/didDismiss")
    def did_dismiss(given: Any) -> None:
        """Do not offer the suggestion here again."""
        dismiss(server, Params(given, "pellucid/didDismiss").text("id"))

    @server.feature("pellucid/didPartiallyAccept")
    def did_partially_accept(given: Any) -> None:
        params = Params(given, "pellucid/didPartiallyAccept")
        accept_part(server, params.text("id"), params.number("acceptedLength"))

    @server.feature("textDocument/didShowCompletion")
    def did_show_completion(given: Any) -> None:
        """Ignore GitHub's form of ``pellucid/didShow``."""

    @server.feature("textDocument/didPartiallyAcceptCompletion")
    def did_partially_accept_completion(given: Any) -> None:
        """Handle GitHub's form of ``pellucid/didPartiallyAccept``."""
        params = Params(given, "textDocument/didPartiallyAcceptCompletion")
        accept_part(server, _id_of(given), params.number("acceptedLength"))


def _register_commands(server: Pellucid) -> None:
    @server.own_command(ACCEPTED)
    def accepted(*arguments: Any) -> None:
        accept_all(server, *arguments)

    @server.own_command("pellucid.toggle")
    async def toggle() -> Json:
        server.session.switch.toggle()
        return await _apply_switch(server)

    @server.own_command("pellucid.toggleWorkspace")
    async def toggle_workspace() -> Json:
        server.session.switch.toggle_here()
        return await _apply_switch(server)

    @server.own_command("pellucid.restart")
    async def restart() -> Json:
        await server.session.restart_server()
        return server.session.status()

    @server.own_command("pellucid.openPage")
    async def open_page() -> str:
        """Open the model server's page, if the client can. Return the address."""
        url: str = server.session.launcher.status.url
        window = server.client_capabilities.window
        if window and window.show_document and window.show_document.support:
            await server.window_show_document_async(types.ShowDocumentParams(url, external=True))
        return url


async def _apply_switch(server: Pellucid) -> Json:
    await server.session.apply_switch()
    server.show_status()
    surprise_methods.forget_refused(server)
    return server.session.status()


async def _prompt_text(server: Pellucid, explanation: Explanation) -> str | None:
    """Return the prompt of an explained request as the model read the prompt.

    Return `None` if the prompt is missing or private, or no server is ready.
    """
    prompt, session = explanation.prompt, server.session
    launcher = session.launcher
    if prompt is None or launcher.status.state != "ready":
        return None
    if not session.policy.may_send(explanation.uri, prompt.prefix + prompt.suffix):
        return None
    client = await launcher.client()
    try:
        return await client.infill_prompt(
            CompletionQuery(prompt.prefix, prompt.suffix, prompt.extra, model=explanation.model)
        )
    except UnavailableError:
        launcher.lost(client)
        return None


async def _score(server: Pellucid, params: Params) -> Json:
    document, wanted = params.part("textDocument"), params.part("range")
    if document is None or wanted is None:
        raise InvalidRequestError("pellucid/score needs a textDocument and a range: send both.")
    uri = _needed(document, "uri", "text")
    places = [wanted.required(name, wanted.position(name)) for name in ("start", "end")]
    start, end = (server.documents.cursor(uri, place) for place in places)
    text = end.before[len(start.before) :]
    if not text or len(text) > SCORE_LIMIT:
        raise InvalidRequestError(
            f"pellucid/score reads 1 to {SCORE_LIMIT} characters at once, but this range has {len(text)}: select less.",
            param="range",
        )
    top = params.number("topLogprobs")
    if top is not None and top > MAX_ALTERNATIVES:
        raise params.wrong("topLogprobs", f"at most {MAX_ALTERNATIVES}")
    server.session.policy.require_sendable(start)
    before = start.before[-SCORE_LIMIT:]
    async with server.session.models.asked() as (client, model):
        count = 5 if top is None else top
        query = ScoreQuery(before + text, model=model.name, top_logprobs=count, terms=BACKGROUND)
        async with aclosing(client.score(query)) as items:
            scored = [item async for item in items if isinstance(item, Token)]
    tokens = drop_typed(tuple(scored), len(before))
    where = types.Position(*start.position)
    return {"model": model.name, "tokens": tokens_report(tokens, where, server.documents.position_codec)}


def _accepted_at(server: Pellucid, uri: str, position: types.Position) -> tuple[Suggestion, int] | None:
    document = server.documents.get_text_document(uri)
    at = len(normalize_newlines(document.source[: document.offset_at_position(position)]))
    text = server.documents.text(uri)
    for suggestion in server.session.suggestions.accepted(uri):
        start = locate(text, suggestion)
        index = None if start is None else token_at(suggestion, at - start)
        if index is not None:
            return suggestion, index
    return None


def _start(server: Pellucid, suggestion: Suggestion) -> types.Position | None:
    """Return the current start of a suggestion, or `None` if the accepted text is gone."""
    if not server.session.suggestions.is_accepted(suggestion.id):
        return types.Position(*suggestion.cursor.position)
    text = server.documents.text(suggestion.cursor.uri)
    at = locate(text, suggestion)
    if at is None:
        return None
    line_start = text.rfind("\n", 0, at) + 1
    return types.Position(
        text.count("\n", 0, at), server.documents.position_codec.client_num_units(text[line_start:at])
    )


def _current_cursor(server: Pellucid, suggestion: Suggestion) -> tuple[DocumentCursor, types.Range]:
    """Return a suggestion's current cursor, and the range to replace.

    The range covers the accepted text, or the text that the selected menu item replaces. The
    cursor's text excludes the accepted text.
    """
    uri, codec = suggestion.cursor.uri, server.documents.position_codec
    suggestion = server.session.suggestions.accepted_part(suggestion)
    start = _start(server, suggestion)
    if start is not None:
        *_, last = ranges_of(suggestion.tokens, start, codec)
        cursor = server.documents.cursor(uri, start)
        if cursor.after.startswith(suggestion.text) and _fits(suggestion, cursor, cursor.after[len(suggestion.text) :]):
            return replace(cursor, after=cursor.after[len(suggestion.text) :]), types.Range(start, last.end)
    here = _menu_range(suggestion.cursor, codec)
    selected = types.SelectedCompletionInfo(here, suggestion.cursor.selected)
    cursor = server.documents.cursor(uri, here.end, selected)
    if cursor.replaced == suggestion.cursor.replaced and _fits(suggestion, cursor, cursor.after):
        return cursor, here
    raise InvalidRequestError(
        "pellucid/branch: the document has changed around the suggestion; request a new one.", param="id"
    )


def _menu_range(cursor: DocumentCursor, codec: PositionCodec) -> types.Range:
    """Return the range that the selected menu item replaces (empty without a selected item)."""
    line, character = cursor.position
    start = character - codec.client_num_units(cursor.selected)
    return types.Range(
        types.Position(line, start), types.Position(line, start + codec.client_num_units(cursor.replaced))
    )


def _fits(suggestion: Suggestion, cursor: DocumentCursor, after: str) -> bool:
    return cursor.before.endswith(suggestion.cursor.before[-NEAR:]) and after.startswith(suggestion.cursor.after[:NEAR])


def _id_of(given: Any) -> str | None:
    """Return the suggestion's id from the command of an item sent back by a client."""
    command = getattr(getattr(given, "item", None), "command", None)
    arguments = getattr(command, "arguments", None) or [None]
    return arguments[0] if isinstance(arguments[0], str) else None


def _position(params: Params) -> tuple[str, types.Position] | None:
    document, position = params.part("textDocument"), params.position("position")
    if document is None or position is None:
        return None
    return _needed(document, "uri", "text"), position


def _needed(params: Params, name: str, kind: str) -> Any:
    return params.required(name, params.text(name) if kind == "text" else params.number(name))
