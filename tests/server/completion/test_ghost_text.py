"""What of an answer is suggested: golden cases, one file a language, and what holds for all of them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.settings import SuggestionShape
from pellucid.completion.shaping.ghost_text import DEEPEST, GhostText, shape_of
from pellucid.completion.suggestion import Place, Shaped
from pellucid.text.stopping import StopGate
from pellucid.text.suffix_stop import SuffixStop
from pellucid.tokens import Token

GOLDEN = Path(__file__).parent / "golden"

CURSOR = "█"


@dataclass(frozen=True)
class Case:
    """A buffer with a cursor, what the model says there, and what is to be shown of it."""

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
    def place(self) -> Place:
        """The cursor's place."""
        before, after = self.buffer.split(CURSOR)
        return Place(f"file:///example.{self.language}", before, after, self.language)


def _read(path: Path) -> list[Case]:
    cases: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["case"]
    for case in cases:
        case |= {key: SuggestionShape(case[key]) for key in ("shape", "becomes") if key in case}
    return [Case(path.stem, **case) for case in cases]


CASES = [case for path in sorted(GOLDEN.glob("*.toml")) for case in _read(path)]


def tokens(*pieces: str) -> list[Token]:
    """One token for each piece of text."""
    return [Token(0, piece, piece.encode(), position, -0.1, 1, 0.1) for position, piece in enumerate(pieces)]


def in_words(text: str, size: int = 4) -> list[Token]:
    """Tokens of a few characters, as a model has them."""
    return tokens(*(text[at : at + size] for at in range(0, len(text), size)))


def fed(ghost: GhostText, said: list[Token]) -> Shaped:
    """What is suggested of these tokens."""
    for token in said:
        ghost.feed(token)
    return ghost.finish()


def through_the_core(case: Case) -> list[Token]:
    """What the core lets through of the answer."""
    gate = StopGate([SuffixStop(case.place.before, case.place.after)])
    return gate.feed(in_words(case.answer)) + gate.finish()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language}: {case.name}")
def test_golden(case: Case) -> None:
    """What is suggested of an answer, and why it ends there, is what a user of the language expects."""
    shape = shape_of(case.place, case.shape, invoked=case.invoked)
    ghost = GhostText(case.place, shape)

    shaped = fed(ghost, through_the_core(case))

    assert shaped.text == case.shown
    assert case.ending in (None, shaped.ending)
    assert case.becomes in (None, shape)
    assert "".join(token.text for token in shaped.tokens) == shaped.text


@pytest.mark.parametrize("case", [case for case in CASES if case.closes], ids=lambda case: f"{case.language}: {case.name}")
def test_the_stream_is_closed_before_its_end(case: Case) -> None:
    """Where the thought has ended, no more tokens are waited for."""
    ghost = GhostText(case.place, shape_of(case.place, case.shape, invoked=case.invoked))

    for token in tokens(*case.answer[:-1]):
        ghost.feed(token)

    assert ghost.ended


@given(data=st.data())
def test_the_result_does_not_depend_on_the_tokens(data: st.DataObject) -> None:
    """However a text is cut into tokens, with empty ones among them, the same of it is suggested."""
    case = data.draw(st.sampled_from(CASES), label="case")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(case.answer)), max_size=12), label="cuts"))
    shape = shape_of(case.place, case.shape, invoked=case.invoked)
    expected = fed(GhostText(case.place, shape), tokens(*case.answer))

    pieces = [case.answer[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(case.answer)], strict=True)]
    shaped = fed(GhostText(case.place, shape), tokens(*pieces))

    assert (shaped.text, shaped.ending) == (expected.text, expected.ending)


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
    """Of any answer at any place a beginning is suggested, and its tokens join to it; what is known once stays."""
    place = Place("untitled:1", before, after, language)
    ghost, letters = GhostText(place, shape), GhostText(place, shape)

    for token in in_words(answer, size):
        ghost.feed(token)
    early = ghost.so_far()
    shaped = ghost.finish()

    assert early is None or shaped.text.startswith(early.text) or shaped.ending in ("repetition", "suffix")
    assert answer.startswith(shaped.text)
    assert "".join(token.text for token in shaped.tokens) == shaped.text
    assert fed(letters, tokens(*answer)).text == shaped.text


def test_whole_lines_when_time_is_up() -> None:
    """When time is up, the lines that are whole are there, and before the first of them nothing."""
    ghost = GhostText(Place("untitled:1", "def f(x):\n    ", "", "python"), SuggestionShape.BLOCK)
    early = []

    for token in tokens("if", " x", ":\n", "        return", " 1\n", "\n", "    ret"):
        ghost.feed(token)
        shaped = ghost.so_far()
        early.append(None if shaped is None else shaped.text)

    assert early == [None, None, "if x:", "if x:", *["if x:\n        return 1"] * 3]
    late = ghost.so_far()
    assert late is not None
    assert (late.ending, "".join(token.text for token in late.tokens)) == ("time", late.text)


def test_a_line_that_the_limit_of_tokens_cut_is_left_out() -> None:
    """Where the model had no more tokens, the line that it was in is left out, unless it is the only one."""
    place = Place("untitled:1", "def f(x):\n    ", "", "python")
    long, short = GhostText(place, SuggestionShape.BLOCK), GhostText(place, SuggestionShape.BLOCK)
    for token in tokens("y = 1\n", "    z ="):
        long.feed(token)
    short.feed(*tokens("y ="))

    assert long.finish(cut_off=True).text == "y = 1"
    assert short.finish(cut_off=True).text == "y ="


def test_half_characters() -> None:
    """A character in several tokens is kept whole with all of its tokens, or cut with all of them."""
    halves = tokens("x", " = '", "", "", "😀", "'", "", "\n", "y")
    ghost = GhostText(Place("untitled:1", "", "", "python"), SuggestionShape.LINE)

    shaped = fed(ghost, halves)

    assert shaped.text == "x = '😀'"
    assert shaped.tokens == tuple(halves[:6])


def test_a_token_is_cut_where_the_suggestion_ends() -> None:
    """The last token has only the text that is suggested."""
    ghost = GhostText(Place("untitled:1", "", "", "python"), SuggestionShape.LINE)

    shaped = fed(ghost, tokens("x = 1", "  \n\ny"))

    assert [token.text for token in shaped.tokens] == ["x = 1"]


@pytest.mark.parametrize("language", ["python", "javascript", "typescript", "go", "rust", "c", "java", "html", "markdown"])
def test_every_language_has_golden_cases(language: str) -> None:
    """Ten cases or more for each language."""
    assert sum(case.language == language for case in CASES) >= 10


def test_a_docstring_that_began_far_above_is_known() -> None:
    """Where the text above is too long to be read line by line, what it leaves open is known all the same."""
    inside = '"""A docstring.\n' + "    A line (\n" * 1000
    outside = "x = 1\n" * 1000 + '"""A docstring."""\n' + "x = 2\n" * 395

    assert shape_of(Place("untitled:1", f"{inside}    Args:\n        ", "", "python")) is SuggestionShape.LINE
    assert shape_of(Place("untitled:1", f'{inside}    Done.\n    """\n\n\ndef f():\n    ', "", "python")) is SuggestionShape.BLOCK
    assert shape_of(Place("untitled:1", f"{outside}def f():\n    ", "", "python")) is SuggestionShape.BLOCK


@pytest.mark.parametrize("language", ["javascript", "python", "html", "markdown"])
def test_a_file_of_one_long_line(language: str) -> None:
    """In a minified file, which is one line, the end of the answer's line is found all the same."""
    line = "f(1);" * 200_000
    ghost = GhostText(Place("untitled:1", line, line, language), SuggestionShape.LINE)

    shaped = fed(ghost, tokens("g(", "2)", ";\n", "h"))

    assert shaped.text == "g(2);"


@pytest.mark.parametrize(("said", "shown"), [("", ""), ("total = 0\n", "total = 0")])
def test_white_space_without_end(said: str, shown: str) -> None:
    """A model that goes on with white space for ever is stopped, and what it said before that stays."""
    ghost = GhostText(Place("file:///a.py", "def f():\n    ", "\n", "python"), SuggestionShape.BLOCK)
    spaces = 0
    for token in tokens(said, *" " * 1000):
        ghost.feed(token)
        spaces += token.text == " "
        if ghost.ended:
            break

    assert ghost.finish().text == shown
    assert spaces <= DEEPEST + len("    ") + 1
