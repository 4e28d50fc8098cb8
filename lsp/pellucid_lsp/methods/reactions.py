"""The user's reactions to suggestions, which clients name by id. Unknown ids are ignored."""

from __future__ import annotations

from typing import Any

from pellucid.completion.document_cursor import normalize_newlines
from pellucid.completion.suggestion import Suggestion
from pellucid_lsp.server import Pellucid
from pellucid_lsp.suggestion_items import SURE


def accept_all(server: Pellucid, *arguments: Any) -> None:
    """Record the acceptance of a whole item, from the command's arguments (first: the id)."""
    suggestion = find_suggestion(server, arguments[0]) if arguments else None
    if suggestion is not None:
        _accept(server, suggestion, len(suggestion.sure.text if SURE in arguments else suggestion.text))


def accept_part(server: Pellucid, id: str | None, length: int | None, *, from_line_start: bool = False) -> None:
    """Record the acceptance of the first ``length`` UTF-16 code units of an item's text.

    The text includes the selected menu item or, with ``from_line_start``, the line before the
    cursor.
    """
    suggestion = find_suggestion(server, id)
    if suggestion is None or not length:
        return
    lead = suggestion.cursor.left if from_line_start else suggestion.cursor.selected
    inserted = suggestion.text.replace("\n", server.documents.line_end(suggestion.cursor.uri))
    accepted = (lead + inserted).encode("utf-16-le")[: 2 * length].decode("utf-16-le", errors="ignore")
    characters = len(normalize_newlines(accepted)) - len(lead)
    if characters > 0:
        _accept(server, suggestion, characters)


def dismiss(server: Pellucid, id: str | None) -> None:
    suggestion = find_suggestion(server, id)
    if suggestion is not None:
        server.session.reactions.dismiss(suggestion)


def _accept(server: Pellucid, suggestion: Suggestion, length: int) -> None:
    server.session.reactions.accept(suggestion, length)
    server.show_status()


def find_suggestion(server: Pellucid, id: object) -> Suggestion | None:
    return server.session.suggestions.get(id) if isinstance(id, str) else None
