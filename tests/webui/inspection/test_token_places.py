"""Tests the marks of an answer's tokens in the rendered text."""

from __future__ import annotations

import json
from math import log
from typing import Any

from pellucid_webui.inspection.markdown_places import rendered_blocks
from pellucid_webui.inspection.token_places import UNSURE_SHARE, marks_of


def batch(*tokens: tuple[str, float]) -> str:
    return json.dumps(
        [{"i": 1, "t": text, "l": log(share), "r": 1, "e": 0.5, "s": None, "o": 0, "a": []} for text, share in tokens]
    )


def shown(text: str, marks: dict[str, Any]) -> list[tuple[int, str, int]]:
    """Return the pieces of tokens found in the browser: token, text and step of the colour."""
    blocks = [block.text.encode("utf-16-le") for block in rendered_blocks(text)]
    flat = marks["places"]
    pieces = zip(*(iter(flat),) * 5, strict=True)
    return [
        (token, blocks[block][2 * begin : 2 * end].decode("utf-16-le"), step)
        for token, block, begin, end, step in pieces
    ]


def test_pieces() -> None:
    """A token is marked in the rendered text, in several pieces if Markdown splits the token."""
    text = "A **bo**ld\n\n- x"
    marks = marks_of(text, [batch(("A ", 1), ("**b", 0.5)), batch(("o**ld", 1), ("\n\n- ", 1), ("x", 1))])
    assert marks is not None
    assert shown(text, marks) == [(0, "A ", 0), (1, "b", 4), (2, "o", 0), (2, "ld", 0), (4, "x", 0)]
    assert marks["count"] == 5


def test_utf_16() -> None:
    """Places count UTF-16 units, as in browsers."""
    text = "😀é *😀* b"
    marks = marks_of(text, [batch(("😀é", 1), (" *", 1), ("😀*", 1), (" b", 1))])
    assert marks is not None
    assert [piece for _, piece, _ in shown(text, marks)] == ["😀é", " ", "😀", " b"]
    assert marks["lengths"] == [9]


def test_the_end_of_a_text() -> None:
    """Tokens may cover only the end of a text, and tokens of a different text have no marks."""
    marks = marks_of("by hand, then on", [batch((" then", 1), (" on", 1))])
    assert marks is not None
    assert shown("by hand, then on", marks) == [(0, " then", 0), (1, " on", 0)]
    assert marks_of("other", [batch(("text", 1))]) is None
    assert marks_of("none", []) is None


def test_unsure_is_a_small_part() -> None:
    """Only the least likely tokens below the threshold are unsure, within the budget."""
    sure = [(" sure", 0.9)] * 90
    marks = marks_of(" sure" * 90 + " odd" * 30, [batch(*sure, *((" odd", 0.01 * (n + 1)) for n in range(30)))])
    assert marks is not None
    budget = UNSURE_SHARE * (90 * 4 + 30 * 3)
    assert marks["unsure"] == list(range(90, 90 + int(budget / 3)))
    calm = marks_of(" sure" * 90, [batch(*sure)])
    assert calm is not None
    assert calm["unsure"] == []


def test_json_answer() -> None:
    """An answer shown as code is placed without the opening fence."""
    marks = marks_of('{"a": 1}', [batch(('{"a"', 1), (": 1}", 1))], "```json\n")
    assert marks is not None
    assert shown('```json\n{"a": 1}', marks) == [(0, '{"a"', 0), (1, ": 1}", 0)]


def test_formula() -> None:
    """All tokens of a formula have the formula's place, and tokens around the formula their own."""
    text = "So $x^2$ is"
    marks = marks_of(text, [batch(("So", 1), (" $", 1), ("x", 0.5), ("^2", 0.01), ("$ is", 1))])
    assert marks is not None
    assert shown(text, marks) == [
        (0, "So", 0),
        (1, " ", 0),
        (1, "x2", 0),
        (2, "x2", 4),
        (3, "x2", 8),
        (4, "x2", 0),
        (4, " is", 0),
    ]
    # The formula is more than a tenth of this text.
    assert marks["unsure"] == []
    longer = text + " sure" * 12
    marks = marks_of(
        longer, [batch(("So", 1), (" $", 1), ("x", 0.5), ("^2", 0.01), ("$ is", 1), *([(" sure", 1)] * 12))]
    )
    assert marks is not None
    assert marks["unsure"] == [3]
