"""Tests the tokens of a diff's texts in the lines of the diff."""

from __future__ import annotations

from math import log

import pytest

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.diff_reading import HunkReading, changed, diff_json, summary
from pellucid_webui.inspection.unified_diff import parse_diff

DIFF = "--- a/f\n+++ b/f\n@@ -5,3 +5,4 @@ def f():\n one\n-two\n-three\n+zwei\n+drei\n+vier\n"


def tokens(*given: tuple[str, float | None]) -> list[Token]:
    """Return tokens with these surprisals in bits."""
    return [
        Token(1, text, text.encode(), at, None if bits is None else -bits * log(2), 1, 0.5)
        for at, (text, bits) in enumerate(given)
    ]


def reading() -> HunkReading:
    """Return a hunk read on both sides; a token of the old text spans a line end."""
    (hunk,) = parse_diff(DIFF)
    return HunkReading(
        hunk,
        tokens(("def f():\n", None), ("one", 1.0), ("\ntwo", 4.0), ("\n", 0.5), ("three", 3.0), ("\n", 0.5)),
        tokens(("def f():\n", None), ("one\n", 1.0), ("zwei\n", 2.0), ("drei\n", 1.0), ("vier\n", 7.0)),
    )


def test_what_is_read() -> None:
    """Both texts have the section's line and all lines of a side: changes are read in context."""
    assert [text for text, _ in reading().sides()] == [
        "def f():\none\ntwo\nthree\n",
        "def f():\none\nzwei\ndrei\nvier\n",
    ]
    (added,) = parse_diff("--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+a\n")
    assert [text for text, _ in HunkReading(added).sides()] == ["a\n"]


def test_rows() -> None:
    """Removed lines are next to added lines, with numbers and bits, without the section's line."""
    (hunk,) = diff_json([reading()])
    assert [[None if side is None else side[:3] for side in row] for row in hunk["rows"]] == [
        [[" ", 5, 1.0], [" ", 5, 1.0]],
        [["-", 6, 4.5], ["+", 6, 2.0]],
        [["-", 7, 3.5], ["+", 7, 1.0]],
        [None, ["+", 8, 7.0]],
    ]
    assert hunk["rows"][1][0][3] == [["two", 4.0], ["", 0.5]]
    assert (hunk["file"], hunk["section"]) == ("f", "def f():")


def test_summary() -> None:
    """The summary has the bits of both sides, the less surprising side and the top new line."""
    removed, added = changed([reading()])
    assert sum(one.bits for one in removed) == pytest.approx(8.0)
    assert sum(one.bits for one in added) == pytest.approx(10.0)
    assert summary([reading()], "qwen") == (
        "Removed: 2 lines with 8.0 bits, 0.73 per byte. Added: 3 lines with 10.0 bits, 0.67 per byte. "
        "qwen finds the new lines less surprising, by 0.06 bits per byte. The most surprising new line is "
        "line 8 (7.0 bits)."
    )


def test_unread() -> None:
    """Lines after a stop have text without bits, and are not counted."""
    (hunk,) = parse_diff(DIFF)
    found = HunkReading(hunk, reading().old)
    ((*_, row),) = [one["rows"] for one in diff_json([found])]
    assert row == [None, ["+", 8, None, [["vier", None]]]]
    assert summary([found], "qwen") == "Removed: 2 lines with 8.0 bits, 0.73 per byte. Added: nothing."
