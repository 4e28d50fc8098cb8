"""Tests of the hunks that break a file's syntax."""

from __future__ import annotations

import pytest

from pellucid.completion.edits.by_instruction import hunk_syntax
from pellucid.completion.edits.by_instruction.edit_query import Hunk
from pellucid.completion.edits.by_instruction.hunk_syntax import BROKEN, UNCHECKED, apply_hunks, check_hunks

TEXT = ["a = 1\n", "b = 2\n", "c = 3\n"]


def hunk(line: int, new: str) -> Hunk:
    return Hunk(line, (TEXT[line].rstrip(),), (new,))


@pytest.mark.parametrize(
    ("text", "hunks", "language", "breaks", "note"),
    [
        (TEXT, [hunk(0, "a = 9"), hunk(2, "c = 8")], "python", [False, False], None),
        (TEXT, [hunk(0, "a = f("), hunk(2, ")")], "python", [False, False], None),
        (TEXT, [hunk(0, "a = 9"), hunk(2, "c = (")], "python", [False, True], BROKEN),
        (TEXT, [hunk(0, "a = f("), hunk(1, "b = ="), hunk(2, ")")], "python", [False, True, False], BROKEN),
        (TEXT, [hunk(0, "a = ="), hunk(1, "b = 9"), hunk(2, "c = =")], "python", [True, False, True], BROKEN),
        (TEXT, [hunk(0, "a = =")], "python", [True], BROKEN),
        ([*TEXT, "d = =\n"], [hunk(0, "a = =")], "python", [None], None),
        (TEXT, [hunk(0, "a = =")], "markdown", [None], None),
        (TEXT, [], "python", [], None),
    ],
)
def test_blame(text: list[str], hunks: list[Hunk], language: str, breaks: list[bool | None], note: str | None) -> None:
    """Hunks to blame break a file that parses; of a file with an error before nothing is known."""
    found, said = check_hunks(text, hunks, "\n", language)
    assert ([one.breaks_syntax for one in found], said) == (breaks, note)


def test_a_long_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file too long to be parsed for each hunk, all hunks are to blame."""
    monkeypatch.setattr(hunk_syntax, "MAX_PARSED", 10)
    found, said = check_hunks(TEXT, [hunk(0, "a = 9"), hunk(2, "c = (")], "\n", "python")
    assert ([one.breaks_syntax for one in found], said) == ([True, True], BROKEN)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the sentence names it; an edit without hunks needs no check."""
    monkeypatch.setattr(hunk_syntax, "lacks_grammar", lambda language: True)
    found, said = check_hunks(TEXT, [hunk(0, "a = =")], "\n", "rust")
    assert ([one.breaks_syntax for one in found], said) == ([None], UNCHECKED)
    assert check_hunks(TEXT, [], "\n", "rust") == ([], None)


@pytest.mark.parametrize(
    ("lines", "hunks", "text"),
    [
        (["a\r\n", "b"], [Hunk(6, (), ("c",)), Hunk(7, (), ("d",))], "a\r\nc\r\nb\r\nd"),
        (["a\n", "b"], [Hunk(6, ("b",), ())], "a"),
        (["a\n"], [Hunk(5, ("a",), ())], ""),
        ([], [Hunk(5, (), ("a",))], "a\n"),
    ],
)
def test_line_ends(lines: list[str], hunks: list[Hunk], text: str) -> None:
    """New lines have the document's ends, and the last line has an end only as before."""
    assert apply_hunks(lines, hunks, "\r\n" if "\r" in text else "\n", first=5) == text
