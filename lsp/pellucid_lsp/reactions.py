"""Notes how the user reacted to a suggestion that a client names by its id.

An id that is no longer known is ignored.
"""

from __future__ import annotations

from typing import Any

from pellucid.completion.suggestion import Suggestion, normalize_newlines
from pellucid_lsp.server import Pellucid
from pellucid_lsp.suggestion_items import SURE


def accept_all(server: Pellucid, *arguments: Any) -> None:
    """Note that all of an item was accepted, whose command has these arguments.

    The first is the id of its suggestion.
    """
    suggestion = find_suggestion(server, arguments[0]) if arguments else None
    if suggestion is not None:
        server.session.accept(suggestion, len(suggestion.sure.text if SURE in arguments else suggestion.text))


def accept_part(server: Pellucid, id: str | None, length: int | None, *, from_line_start: bool = False) -> None:
    """Note that the first ``length`` UTF-16 code units of the text that an item inserts were accepted.

    That text includes the selected item of the menu or, ``from_line_start``, all that the line
    holds before the cursor.
    """
    suggestion = find_suggestion(server, id)
    if suggestion is None or not length:
        return
    lead = suggestion.cursor.left if from_line_start else suggestion.cursor.selected
    inserted = suggestion.text.replace("\n", server.line_end(suggestion.cursor.uri))
    accepted = (lead + inserted).encode("utf-16-le")[: 2 * length].decode("utf-16-le", errors="ignore")
    characters = len(normalize_newlines(accepted)) - len(lead)
    if characters > 0:
        server.session.accept(suggestion, characters)


def dismiss(server: Pellucid, id: str | None) -> None:
    """Do not offer a suggestion again at its place."""
    suggestion = find_suggestion(server, id)
    if suggestion is not None:
        server.session.dismiss(suggestion)


def find_suggestion(server: Pellucid, id: object) -> Suggestion | None:
    """Return the suggestion with this id, or None if there is none."""
    return server.session.recent.get(id) if isinstance(id, str) else None
