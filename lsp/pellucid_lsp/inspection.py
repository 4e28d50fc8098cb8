"""The requests, notifications and commands of our own, and the hover: what the model thought, and why that was shown."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.recent_answers import after_typing
from pellucid.completion.suggestion import Place, Suggestion, unified
from pellucid.errors import InvalidRequestError, UnavailableError
from pellucid.tokens import BACKGROUND, MAX_ALTERNATIVES, ScoreQuery, Token
from pellucid_lsp.inspection_json import Json, explanation_report, hover_markdown, ranges_of, suggestion_report, tokens_report
from pellucid_lsp.protocol import Params
from pellucid_lsp.suggestion_items import ACCEPTED, inline_item
from pellucid_lsp.suggestion_location import locate, token_at

if TYPE_CHECKING:
    from pellucid_lsp.server import Pellucid

NEAR = 200
"""Characters around a suggestion that must be the same for it to be branched from."""

SCORE_LIMIT = 20_000
"""Characters that ``pellucid/score`` reads before the range, and the most that a range may have."""


def register(server: Pellucid) -> None:
    """Add all of it to a server."""
    _requests(server)
    _notifications(server)
    _commands(server)


def _requests(server: Pellucid) -> None:
    @server.request("pellucid/tokens")
    def tokens(given: Any) -> Json | None:
        params = Params(given, "pellucid/tokens")
        id, place = params.text("id"), _position(params)
        if id is None and place is None:
            raise InvalidRequestError("pellucid/tokens needs an id, or a textDocument and a position.")
        found = server.session.recent.get(id) if id is not None else None
        if id is None and place is not None:
            there = _accepted_at(server, *place)
            found = None if there is None else there[0]
        if found is None:
            return None
        recent = server.session.recent
        found = recent.accepted_part(found)
        return suggestion_report(found, recent.is_accepted(found.id), _start(server, found), server.documents.position_codec)

    @server.request("pellucid/branch")
    async def branch(given: Any) -> types.InlineCompletionItem | None:
        params = Params(given, "pellucid/branch")
        id, index, alternative = (
            _needed(params, name, read) for name, read in (("id", "text"), ("token", "number"), ("alternative", "number"))
        )
        suggestion = server.session.recent.get(id)
        if suggestion is None:
            raise InvalidRequestError(f"pellucid/branch: the suggestion {id} is forgotten; ask for a new one.", param="id")
        place, range = _where(server, suggestion)
        branched = await server.session.branch(suggestion, place, index, alternative)
        if branched is None:
            return None
        item = inline_item(branched, None, server.line_end(place.uri))
        item.range = range
        return item

    @server.request("pellucid/explain")
    async def explain(given: Any) -> Json | None:
        params = Params(given, "pellucid/explain")
        document = params.part("textDocument")
        uri = None if document is None else document.text("uri")
        explanation = server.session.journal.explanations.find(id=params.text("id"), uri=uri)
        return None if explanation is None else explanation_report(explanation, await server.session.prompt_text(explanation))

    @server.request("pellucid/score")
    async def score(given: Any) -> Json:
        return await _score(server, Params(given, "pellucid/score"))

    @server.request("pellucid/status")
    def status(_: Any) -> Json:
        return server.session.status()

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        there = _accepted_at(server, params.text_document.uri, params.position)
        if there is None:
            return None
        return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, hover_markdown(*there)))


def _notifications(server: Pellucid) -> None:
    @server.feature("pellucid/didShow")
    def did_show(given: Any) -> None:
        """Clients may tell; what is kept for a suggestion is kept for shown ones and others alike."""

    @server.feature("pellucid/didDismiss")
    def did_dismiss(given: Any) -> None:
        suggestion = _known(server, Params(given, "pellucid/didDismiss").text("id"))
        if suggestion is not None:
            server.session.dismiss(suggestion)

    @server.feature("pellucid/didPartiallyAccept")
    def did_partially_accept(given: Any) -> None:
        params = Params(given, "pellucid/didPartiallyAccept")
        _accept_part(server, params.text("id"), params.number("acceptedLength"))

    @server.feature("textDocument/didShowCompletion")
    def did_show_completion(given: Any) -> None:
        """The same in GitHub's words."""

    @server.feature("textDocument/didPartiallyAcceptCompletion")
    def did_partially_accept_completion(given: Any) -> None:
        params = Params(given, "textDocument/didPartiallyAcceptCompletion")
        _accept_part(server, _id_of(given), params.number("acceptedLength"))


def _commands(server: Pellucid) -> None:
    @server.order(ACCEPTED)
    def accepted(*arguments: Any) -> None:
        suggestion = _known(server, arguments[0]) if arguments and isinstance(arguments[0], str) else None
        if suggestion is not None:
            server.session.accept(suggestion, len(suggestion.text))

    @server.order("pellucid.toggle")
    async def toggle() -> Json:
        server.session.switch.toggle()
        await server.session.switched()
        return server.session.status()

    @server.order("pellucid.toggleWorkspace")
    async def toggle_workspace() -> Json:
        server.session.switch.toggle_here()
        await server.session.switched()
        return server.session.status()

    @server.order("pellucid.restart")
    async def restart() -> Json:
        await server.session.restart()
        return server.session.status()

    @server.order("pellucid.openPage")
    async def open_page() -> str:
        url: str = server.session.launcher.condition.url
        window = server.client_capabilities.window
        if window and window.show_document and window.show_document.support:
            await server.window_show_document_async(types.ShowDocumentParams(url, external=True))
        return url


async def _score(server: Pellucid, params: Params) -> Json:
    """The tokens of a range, read with what stands before it."""
    document, wanted = params.part("textDocument"), params.part("range")
    if document is None or wanted is None:
        raise InvalidRequestError("pellucid/score needs a textDocument and a range.")
    uri = _needed(document, "uri", "text")
    start, end = (server.place(uri, _read_position(_part(wanted, name))) for name in ("start", "end"))
    text = end.before[len(start.before) :]
    if not text or len(text) > SCORE_LIMIT:
        raise InvalidRequestError(f"pellucid/score reads 1 to {SCORE_LIMIT} characters at once; this range has {len(text)}.", param="range")
    top = params.number("topLogprobs")
    if top is not None and top > MAX_ALTERNATIVES:
        raise params.wrong("topLogprobs", f"at most {MAX_ALTERNATIVES}")
    server.session.require(start)
    before = start.before[-SCORE_LIMIT:]
    launcher = server.session.launcher
    client = await launcher.client()
    try:
        model = await ModelChoice().find(client, server.settings.model)
        count = 5 if top is None else top
        async with aclosing(client.score(ScoreQuery(before + text, model=model.name, top_logprobs=count, terms=BACKGROUND))) as items:
            found = [item async for item in items if isinstance(item, Token)]
    except UnavailableError:
        launcher.lost(client)
        raise
    tokens = after_typing(tuple(found), len(before))
    where = types.Position(*start.position)
    return {"model": model.name, "tokens": tokens_report(tokens, where, server.documents.position_codec)}


def _accepted_at(server: Pellucid, uri: str, position: types.Position) -> tuple[Suggestion, int] | None:
    """The accepted suggestion that stands at a position, and the index of its token there."""
    document = server.documents.get_text_document(uri)
    at = len(unified(document.source[: document.offset_at_position(position)]))
    text = server.text(uri)
    for suggestion in server.session.recent.accepted(uri):
        start = locate(text, suggestion)
        index = None if start is None else token_at(suggestion, at - start)
        if index is not None:
            return suggestion, index
    return None


def _start(server: Pellucid, suggestion: Suggestion) -> types.Position | None:
    """Where a suggestion begins in its document now: where it would be inserted or, once accepted, wherever it stands."""
    if not server.session.recent.is_accepted(suggestion.id):
        return types.Position(*suggestion.place.position)
    text = server.text(suggestion.place.uri)
    at = locate(text, suggestion)
    if at is None:
        return None
    line_start = text.rfind("\n", 0, at) + 1
    return types.Position(text.count("\n", 0, at), server.documents.position_codec.client_num_units(text[line_start:at]))


def _where(server: Pellucid, suggestion: Suggestion) -> tuple[Place, types.Range]:
    """The place of a suggestion as the document is now, without its text where that was accepted, and the range of that text.

    Raises InvalidRequestError where neither fits the document any more.
    """
    uri, codec = suggestion.place.uri, server.documents.position_codec
    suggestion = server.session.recent.accepted_part(suggestion)
    start = _start(server, suggestion)
    if start is not None:
        *_, last = ranges_of(suggestion.tokens, start, codec)
        place = server.place(uri, start)
        if place.after.startswith(suggestion.text) and _fits(suggestion, place, place.after[len(suggestion.text) :]):
            return replace(place, after=place.after[len(suggestion.text) :]), types.Range(start, last.end)
    start = types.Position(*suggestion.place.position)
    place = server.place(uri, start)
    if _fits(suggestion, place, place.after):
        return place, types.Range(start, start)
    raise InvalidRequestError("pellucid/branch: the document has changed at the suggestion's place; ask for a new one.", param="id")


def _fits(suggestion: Suggestion, place: Place, after: str) -> bool:
    return place.before.endswith(suggestion.place.before[-NEAR:]) and after.startswith(suggestion.place.after[:NEAR])


def _accept_part(server: Pellucid, id: str | None, length: int | None) -> None:
    """Note that the beginning of a suggestion's ``insertText``, in UTF-16 code units, is in the document."""
    suggestion = _known(server, id)
    if suggestion is None or not length:
        return
    lead, inserted = suggestion.place.selected, suggestion.text.replace("\n", server.line_end(suggestion.place.uri))
    accepted = (lead + inserted).encode("utf-16-le")[: 2 * length].decode("utf-16-le", errors="ignore")
    characters = len(unified(accepted)) - len(lead)
    if characters > 0:
        server.session.accept(suggestion, characters)


def _known(server: Pellucid, id: str | None) -> Suggestion | None:
    return None if id is None else server.session.recent.get(id)


def _id_of(given: Any) -> str | None:
    """The suggestion's id in an item that a client sends back: the argument of its command."""
    command = getattr(getattr(given, "item", None), "command", None)
    arguments = getattr(command, "arguments", None) or [None]
    return arguments[0] if isinstance(arguments[0], str) else None


def _position(params: Params) -> tuple[str, types.Position] | None:
    document, position = params.part("textDocument"), params.part("position")
    if document is None or position is None:
        return None
    return _needed(document, "uri", "text"), _read_position(position)


def _read_position(params: Params) -> types.Position:
    return types.Position(_needed(params, "line", "number"), _needed(params, "character", "number"))


def _part(params: Params, name: str) -> Params:
    part: Params = params.required(name, params.part(name))
    return part


def _needed(params: Params, name: str, kind: str) -> Any:
    return params.required(name, params.text(name) if kind == "text" else params.number(name))
