"""Tests of the places where a suggestion may be cut, as a reader would stop there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.code.brackets import is_balanced
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.ghost_text import GhostText, choose_shape
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.shaping.part_ends import is_worth_showing, part_ends
from pellucid.completion.suggestion import TrimmedAnswer
from support.editors.token_factory import in_words


def parts(language: str, before: str, text: str, after: str = "") -> list[str]:
    parsed = ParsedCursor(DocumentCursor("untitled:1", before, after, language))
    return [text[:end] for end in part_ends(parsed, text)]


@pytest.mark.parametrize(
    ("language", "before", "text", "expected"),
    [
        ("python", "with ", "pytest.raises(OutOfStock, match='none'):", []),
        ("python", "rows = sorted(orders, key=lambda order: order", ".name, SUMMARY)", [".name, SUMMARY", ".name"]),
        ("python", "total = price", " * amount + shipping", []),
        ("python", "x = ", "load(path).strip().lower()", ["load(path).strip()", "load(path)"]),
        ("python", "for ", "key, value in rows.items():", []),
        ("python", "rows = [", "key for key, value in rows]", ["key for key, value in rows"]),
        ("python", "print(", "lambda a, b: a)", ["lambda a, b: a"]),
        ("python", 'print("', 'total: %s", total)', ['total: %s", total', 'total: %s"']),
        ("python", "# The order ", "is wrong, so the sum is too. Fix it", [
            "is wrong, so the sum is too.", "is wrong,",
        ]),
        ("python", "def total(", "orders: dict[str, int], tax: float):", [
            "orders: dict[str, int], tax: float", "orders: dict[str, int]",
        ]),
        ("javascript", "const response = await ", "fetch(`/api/users/${id}`, options).json();", [
            "fetch(`/api/users/${id}`, options).json()", "fetch(`/api/users/${id}`, options)",
        ]),
        ("javascript", "items.map(", "(item) => item.name, 1);", [
            "(item) => item.name, 1)", "(item) => item.name, 1", "(item) => item.name",
        ]),
        ("javascript", "function f() {\n  let ", "a = 1, b = 2;", ["a = 1, b = 2"]),
        ("javascript", "const point = { ", "x: 1, y: 2 };", ["x: 1, y: 2 }", "x: 1, y: 2", "x: 1"]),
        ("java", "List<String> names = ", "new HashMap<String, Integer>();", ["new HashMap<String, Integer>()"]),
        ("rust", "let total = rows.iter().fold(", "0, |sum, row| sum + row);", [
            "0, |sum, row| sum + row)", "0, |sum, row| sum + row",
        ]),
        ("go", "func main() {\n\tfor ", "key, value := range rows {", []),
        ("css", "a { ", "color: red; top: 0; }", [
            "color: red; top: 0;", "color: red; top: 0", "color: red;", "color: red",
        ]),
        ("css", "a {\n  background: ", "#fff;", ["#fff"]),
        ("html", "<p>", "Hello, <b>you</b></p>", ["Hello, <b>you</b>", "Hello,"]),
        ("html", "<a ", 'href="/" class="x y">Home</a>', ['href="/" class="x y">', 'href="/" class="x y"', 'href="/"']),
        ("markdown", "The server ", "listens on loopback, and nowhere else.", ["listens on loopback,"]),
        ("python", "def f(a):", "\n    return g(a).h(b)", ["\n    return g(a)"]),
        ("python", "if ", "a:\n    return (\n        b,\n    )", ["a:\n    return (\n        b,", "a:\n    return ("]),
        ("", "call(", "one, two)", ["one, two", "one"]),
        ("html", "<div ", 'style="color: red; top: 0" id="x">', [
            'style="color: red; top: 0" id="x"', 'style="color: red; top: 0"',
        ]),
        ("html", "<style>\n  ", "aa { color: red; margin: 0; }", []),
        ("markdown", "See ", "the docs (v1.2, e.g. the first). Then continue", ["the docs (v1.2, e.g. the first)."]),
        ("python", "x = [k for ", "key, value in items.items()]", ["key, value in items.items()"]),
        ("rust", "xs.fold(0, |", "total, value| total + value)", ["total, value| total + value"]),
        ("rust", "fn f(x: HashMap<", "String, u8>) {", ["String, u8>"]),
        ("kotlin", "xs.fold(0) { ", "total, value -> total + value }", ["total, value -> total + value"]),
        ("python", '"""', "\n    Return the sum; it is (a).b, or c.", [
            "\n    Return the sum; it is (a).b,", "\n    Return the sum;",
        ]),
        ("shellscript", "case $x in\n  ", "start) run_it;;", []),
        ("shellscript", "", "for f in *; do echo $f; done", []),
        ("lua", "f(", "function(x) return x.aa, x.bb end)", []),
        ("go", "func main() {\n\tfor ", "i := 0; i < n; i++ {", []),
    ],
)  # fmt: skip
def test_parts(language: str, before: str, text: str, expected: list[str]) -> None:
    """A part ends with an argument, call, statement, tag, clause or line, not within a string."""
    assert parts(language, before, text) == expected


@given(
    st.text(alphabet="ab.,;:(){}[]\"'`<>|# \n", max_size=30),
    st.sampled_from(["python", "javascript", "html", "markdown", ""]),
)
def test_parts_are_beginnings(text: str, language: str) -> None:
    """Each part is a useful beginning of the text without final spaces, the longest part first."""
    found = parts(language, "x = ", text)
    assert found == sorted(set(found), key=len, reverse=True)
    assert all(
        text.startswith(part) and len(part) < len(text) and part == part.rstrip() and is_worth_showing(part)
        for part in found
    )


@given(st.text(alphabet="ab.,;(){}[] ", max_size=30))
def test_a_part_of_a_line_opens_nothing(text: str) -> None:
    """A part within a line closes every bracket that the part opens."""
    for part in parts("c", "x = ", text):
        depth = 0
        for character in part:
            depth = depth + 1 if character in "([{" else max(depth - 1, 0) if character in ")]}" else depth
        assert depth == 0


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
