"""Golden cases of suggested parts of answers for each language, and properties of all cases."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.ghost_text import MAX_EXTRA_INDENT, GhostText, choose_shape
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import TrimmedAnswer
from pellucid.text.stopping import StopGate
from pellucid.text.suffix_stop import SuffixStop
from pellucid.vocabulary.token import Token
from support.editors.token_factory import in_words

GOLDEN = Path(__file__).parent / "golden"

CURSOR = "█"


@dataclass(frozen=True)
class Case:
    """A buffer with a cursor, the model's answer there, and the suggested part."""

    language: str
    name: str
    buffer: str
    answer: str
    shown: str
    shape: SuggestionShape = SuggestionShape.AUTO
    invoked: bool = False
    ending: str | None = None
    closes: bool = False
    becomes: SuggestionShape | None = None

    @property
    def cursor(self) -> ParsedCursor:
        before, after = self.buffer.split(CURSOR)
        return parse(f"file:///example.{self.language}", before, after, self.language)


def _read(path: Path) -> list[Case]:
    cases: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["case"]
    for case in cases:
        case |= {key: SuggestionShape(case[key]) for key in ("shape", "becomes") if key in case}
    return [Case(path.stem, **case) for case in cases]


CASES = [case for path in sorted(GOLDEN.glob("*.toml")) for case in _read(path)]


def parse(uri: str, before: str, after: str, language: str) -> ParsedCursor:
    return ParsedCursor(DocumentCursor(uri, before, after, language))


def tokens(*pieces: str) -> list[Token]:
    return [Token(0, piece, piece.encode(), position, -0.1, 1, 0.1) for position, piece in enumerate(pieces)]


def feed_all(ghost: GhostText, answer: Sequence[Token]) -> TrimmedAnswer:
    for token in answer:
        ghost.feed(token)
    return ghost.finish()


def through_the_core(case: Case) -> list[Token]:
    """Return the tokens of the answer that the server's own ending rules let through."""
    gate = StopGate([SuffixStop(case.cursor.document.before, case.cursor.document.after)])
    return gate.feed(in_words(case.answer)) + gate.finish()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language}: {case.name}")
def test_golden(case: Case) -> None:
    """The suggested part of an answer and its ending are as a user of the language expects."""
    shape = choose_shape(case.cursor, case.shape, invoked=case.invoked)
    ghost = GhostText(case.cursor, shape)
    trimmed = feed_all(ghost, through_the_core(case))
    assert trimmed.text == case.shown
    assert case.ending in (None, trimmed.ending)
    assert case.becomes in (None, shape)
    assert "".join(token.text for token in trimmed.tokens) == trimmed.text


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.closes], ids=lambda case: f"{case.language}: {case.name}"
)
def test_the_stream_is_closed_before_its_end(case: Case) -> None:
    """No more tokens are read when the suggestion is complete."""
    ghost = GhostText(case.cursor, choose_shape(case.cursor, case.shape, invoked=case.invoked))
    for token in tokens(*case.answer[:-1]):
        ghost.feed(token)
    assert ghost.ended


@pytest.mark.slow
@given(data=st.data())
def test_the_result_does_not_depend_on_the_tokens(data: st.DataObject) -> None:
    """The suggestion does not depend on the answer's split into tokens, even with empty tokens."""
    case = data.draw(st.sampled_from(CASES), label="case")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(case.answer)), max_size=12), label="cuts"))
    shape = choose_shape(case.cursor, case.shape, invoked=case.invoked)
    expected = feed_all(GhostText(case.cursor, shape), tokens(*case.answer))
    pieces = [case.answer[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(case.answer)], strict=True)]
    trimmed = feed_all(GhostText(case.cursor, shape), tokens(*pieces))
    assert (trimmed.text, trimmed.ending) == (expected.text, expected.ending)


@pytest.mark.slow
@given(
    before=st.text("ab(){}[]\"'`/*#:<>-\n\r\t \\😀"),
    after=st.text("ab(){}[]\"'`/*#:<>-\n \\"),
    answer=st.text("ab(){}[]\"'`/*#:<>-\n\r\t \\😀"),
    language=st.sampled_from(["python", "javascript", "rust", "html", "markdown", "ruby", ""]),
    shape=st.sampled_from([SuggestionShape.LINE, SuggestionShape.BLOCK]),
    size=st.integers(1, 7),
)
def test_a_suggestion_is_how_the_answer_begins(
    before: str, after: str, answer: str, language: str, shape: SuggestionShape, size: int
) -> None:
    """A suggestion's tokens join to the answer's beginning, and include lines shown early."""
    cursor = parse("untitled:1", before, after, language)
    ghost, letters = GhostText(cursor, shape), GhostText(cursor, shape)
    for token in in_words(answer, size):
        ghost.feed(token)
    early = ghost.so_far()
    trimmed = ghost.finish()
    assert early is None or trimmed.text.startswith(early.text) or trimmed.ending in ("repetition", "suffix")
    assert answer.startswith(trimmed.text)
    assert "".join(token.text for token in trimmed.tokens) == trimmed.text
    assert feed_all(letters, tokens(*answer)).text == trimmed.text


def test_whole_lines_when_time_is_up() -> None:
    """Complete lines are suggested when the time is over, and nothing before the first line."""
    ghost = GhostText(parse("untitled:1", "def f(x):\n    ", "", "python"), SuggestionShape.BLOCK)
    early = []
    for token in tokens("if", " x", ":\n", "        return", " 1\n", "\n", "    ret"):
        ghost.feed(token)
        trimmed = ghost.so_far()
        early.append(None if trimmed is None else trimmed.text)
    assert early == [None, None, "if x:", "if x:", *["if x:\n        return 1"] * 3]
    late = ghost.so_far()
    assert late is not None
    assert (late.ending, "".join(token.text for token in late.tokens)) == ("time", late.text)


def test_a_line_that_the_limit_of_tokens_cut_is_left_out() -> None:
    """A last line that the limit of tokens cut off is dropped, unless the line is alone."""
    cursor = parse("untitled:1", "def f(x):\n    ", "", "python")
    long, short = GhostText(cursor, SuggestionShape.BLOCK), GhostText(cursor, SuggestionShape.BLOCK)
    for token in tokens("y = 1\n", "    z ="):
        long.feed(token)
    short.feed(*tokens("y ="))
    assert long.finish(cut_off=True).text == "y = 1"
    assert short.finish(cut_off=True).text == "y ="


@pytest.mark.parametrize(
    ("before", "after", "answer", "shown"),
    [
        ("x = fun", "", "ction(a, b", None),
        ("x = fun", "", "ction(a, b), c", None),
        ("x = ", "", "f(a).", None),
        ("x = ", "", "f(a).b", "f(a)"),
        ("x = f(", ")", "aa, b", "aa"),
        ("x = f(", ") + tail", "alpha, ta", None),
        ("alpha(beta + 1, c)\n", "", "alpha(beta + 1, ", None),
        ("alpha(beta + 1, c)\n", "", "alpha(beta).c - ", "alpha(beta)"),
        ("", "\nalpha(beta).gamma\n", "alpha(beta).ga", None),
        ("def f(a):", "\n", "\n    return a\n    re", "\n    return a"),
    ],
)
def test_the_first_line_so_far(before: str, after: str, answer: str, shown: str | None) -> None:
    """An unfinished answer shows only complete expressions, and no repetition of nearby text."""
    parsed = parse("file:///a.py", before, after, "python")
    ghost = GhostText(parsed, choose_shape(parsed))
    ghost.feed_all(in_words(answer))
    part = ghost.first_line_so_far()
    assert (None if part is None else part.text) == shown


def test_half_characters() -> None:
    """A character of several tokens is kept or dropped with all tokens."""
    halves = tokens("x", " = '", "", "", "😀", "'", "", "\n", "y")
    ghost = GhostText(parse("untitled:1", "", "", "python"), SuggestionShape.LINE)
    trimmed = feed_all(ghost, halves)
    assert trimmed.text == "x = '😀'"
    assert trimmed.tokens == tuple(halves[:6])


def test_a_token_is_cut_where_the_suggestion_ends() -> None:
    """The last token has only the suggested text."""
    ghost = GhostText(parse("untitled:1", "", "", "python"), SuggestionShape.LINE)
    trimmed = feed_all(ghost, tokens("x = 1", "  \n\ny"))
    assert [token.text for token in trimmed.tokens] == ["x = 1"]


@pytest.mark.parametrize(("after", "ending"), [("", Ending.BRACKET), ("\nf(y)\n", Ending.SUFFIX)])
def test_closing_bracket(after: str, ending: Ending) -> None:
    """An answer repeats text that follows only if a closing bracket follows at all."""
    ghost = GhostText(parse("untitled:1", "x = 1", after, "python"), SuggestionShape.LINE)
    trimmed = feed_all(ghost, tokens(")"))
    assert (trimmed.text, trimmed.ending) == ("", ending)


@pytest.mark.parametrize(
    "language", ["python", "javascript", "typescript", "go", "rust", "c", "java", "html", "markdown"]
)
def test_every_language_has_golden_cases(language: str) -> None:
    """Each language has ten golden cases or more."""
    assert sum(case.language == language for case in CASES) >= 10


def test_a_docstring_that_began_far_above_is_known() -> None:
    """An open docstring that begins too far above to be parsed is recognised."""
    inside = '"""A docstring.\n' + "    A line (\n" * 1000
    outside = "x = 1\n" * 1000 + '"""A docstring."""\n' + "x = 2\n" * 395

    def shape_after(before: str) -> SuggestionShape:
        return choose_shape(parse("untitled:1", before, "", "python"))

    assert shape_after(f"{inside}    Args:\n        ") is SuggestionShape.LINE
    assert shape_after(f'{inside}    Done.\n    """\n\n\ndef f():\n    ') is SuggestionShape.BLOCK
    assert shape_after(f"{outside}def f():\n    ") is SuggestionShape.BLOCK


@pytest.mark.slow
@pytest.mark.parametrize("language", ["javascript", "python", "html", "markdown"])
def test_a_file_of_one_long_line(language: str) -> None:
    """The end of the answer's line is found in a minified file of a single line."""
    line = "f(1);" * 200_000
    ghost = GhostText(parse("untitled:1", line, line, language), SuggestionShape.LINE)
    trimmed = feed_all(ghost, tokens("g(", "2)", ";\n", "h"))
    assert trimmed.text == "g(2);"


@pytest.mark.parametrize(("answer", "shown"), [("", ""), ("total = 0\n", "total = 0")])
def test_white_space_without_end(answer: str, shown: str) -> None:
    """A model that generates endless white space is stopped, and the text before is kept."""
    ghost = GhostText(parse("file:///a.py", "def f():\n    ", "\n", "python"), SuggestionShape.BLOCK)
    spaces = 0
    for token in tokens(answer, *" " * 1000):
        ghost.feed(token)
        spaces += token.text == " "
        if ghost.ended:
            break
    assert ghost.finish().text == shown
    assert spaces <= MAX_EXTRA_INDENT + len("    ") + 1
