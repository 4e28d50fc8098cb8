"""Tests of the token fields in a hover and in the editors' views."""

from __future__ import annotations

from dataclasses import replace
from math import log

from lsprotocol import types
from pygls.workspace import PositionCodec

from pellucid.completion.settings import SuggestionShape
from pellucid.completion.suggestion import DocumentCursor, Suggestion
from pellucid_lsp.inspection_json import hover_markdown, tokens_report
from support.editors.token_factory import joined, make_tokens

EXACT, RANGED, UNKNOWN = make_tokens("a", "b", "c")
TOKENS = (
    replace(EXACT, entropy=0.5 * log(2)),
    replace(RANGED, entropy=None, entropy_range=(1.9 * log(2), 2.6 * log(2))),
    replace(UNKNOWN, entropy=None),
)


def test_hover_over_tokens_without_an_exact_entropy() -> None:
    """A hover shows an exact entropy, the bounds of a range, and nothing for an unknown entropy."""
    cursor = DocumentCursor("file:///a.py", "", "", "python")
    shown = hover_markdown(Suggestion("1", cursor, joined(TOKENS), TOKENS, "m", SuggestionShape.LINE), 0)
    rows = [row.split("|")[-2].strip() for row in shown.partition("entropy, bits")[2].splitlines()[2:]]
    assert rows == ["0.50", "1.90 to 2.60", ""]


def test_tokens_of_the_view() -> None:
    """The editors' views get an entropy's bounds only if the exact entropy is unknown."""
    found = tokens_report(TOKENS, types.Position(0, 0), PositionCodec())
    assert [one["entropy"] for one in found] == [0.5 * log(2), None, None]
    assert ["entropy_range" in one for one in found] == [False, True, False]
