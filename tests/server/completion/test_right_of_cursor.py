"""Tests of answers before text right of the cursor: joined to the text, or not suggested."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.code.brackets import is_balanced
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.ghost_text import GhostText, choose_shape
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import DocumentCursor, TrimmedAnswer
from support.editors.token_factory import in_words


def suggested(language: str, left: str, right: str, answer: str) -> TrimmedAnswer:
    """Return the suggested part of an answer; the model has ended an answer without a line end."""
    parsed = ParsedCursor(DocumentCursor("untitled:1", left, f"{right}\n", language))
    ghost = GhostText(parsed, choose_shape(parsed))
    ghost.feed_all(in_words(answer))
    return ghost.finish()


@pytest.mark.parametrize(
    ("language", "left", "right", "answer", "expected"),
    [
        ("python", "for order", " in items:", " in orders:\n", ""),
        ("python", "for ", " in items:", "order in orders:\n", "order"),
        ("python", "for ", "in items:", "order in orders:\n", "order "),
        ("python", "for ", "items:", "order in orders:\n", ""),
        ("python", "for ", "items:", "order in", ""),
        ("python", "for ", "items:", "order in ", "order in "),
        ("javascript", "items.m", "(x => x.name);", "ap(item => item.name);\n", "ap"),
        ("javascript", "items.m", "ap(x => x.name);", "ap(item => item.name);\n", ""),
        ("python", "total(", ", tax)", "price, rate, tax2)\n", "price"),
        ("python", "total(", ", tax)", "price,", "price"),
        ("python", "total(", ", tax)", "(price, rate)", "(price, rate)"),
        ("python", "total = ", " + tax", "price * count\n", ""),
        ("python", "total = ", " + tax", "price * count", "price * count"),
        ("python", "print(", " + tax)", "max(price", ""),
        ("python", "total", "price, tax)", "(", "("),
        ("python", "name = self", ".first", ".user.last.first\n", ".user.last"),
        ("python", "total = ", "  # with tax", "price + tax\n", "price + tax"),
        ("python", 'name = "', ' world" + end', 'hello" + end\n', ""),
        ("python", "na", "ber = 1", "m", "m"),
        ("c", "for (int i = 0; i < ", "; i++) {", "count; i++) {\n", "count"),
        ("c", "int ", "(char *text);", "length(const char *text);\n", "length"),
        ("c", "a(1); ", "b(2);", "c(3);\n", "c(3);"),
        ("c", "a(1); ", "b(2);", "c(3)\n", ""),
        ("python", "x = ", "foo(b)", "bar(foo(b))\n", ""),
        ("javascript", "function f() {", " return x; }", "\n  return x;\n}", ""),
        ("javascript", "const a = ", "; // done", "foo\nbar", "foo"),
        ("go", "\tvalues[", "] = value", "key] = 1\n", "key"),
    ],
)
def test_joined(language: str, left: str, right: str, answer: str, expected: str) -> None:
    """An answer ends at the text right of the cursor, or suggests nothing for a rewritten text."""
    assert suggested(language, left, right, answer).text == expected


def test_why_nothing_is_suggested() -> None:
    """The ending says that the answer rewrites the rest of the line."""
    assert suggested("python", "for ", " items:", "order of orders:\n").ending == Ending.REWRITE


@given(st.text(alphabet="ab ,(){}[]", max_size=20), st.booleans())
def test_no_more_open_brackets(answer: str, ended: bool) -> None:
    """A line whose brackets are balanced is balanced after the suggestion is accepted."""
    shown = suggested("c", "x = f(", ", y) + z;", answer if ended else f"{answer}\n").text

    assert is_balanced(f"x = f({shown}, y) + z;")


@pytest.mark.parametrize("left", ["if a:", "x = "])
def test_a_line_in_the_middle_of_a_line(left: str) -> None:
    """Only a line is suggested before text on the same line, whatever the setting."""
    parsed = ParsedCursor(DocumentCursor("untitled:1", left, " y + 1", "python"))

    assert [choose_shape(parsed, shape, invoked=True) for shape in SuggestionShape] == [SuggestionShape.LINE] * 3


def test_an_answer_that_is_cut_off() -> None:
    """An answer that the limit of tokens cut off within a line is not inserted before text."""
    parsed = ParsedCursor(DocumentCursor("untitled:1", "foo(", " bar);\n", "c"))
    ghost = GhostText(parsed, choose_shape(parsed))
    ghost.feed_all(in_words("alpha, beta, gamma"))

    assert ghost.finish(cut_off=True).text == ""
