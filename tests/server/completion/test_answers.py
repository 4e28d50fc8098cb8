"""Tests of recent answers, found again at later cursors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.answers import Answer, Answers
from pellucid.completion.cursor_keys import CHARACTERS_AFTER, CHARACTERS_BEFORE
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.suggestion import drop_typed
from support.editors.token_factory import joined, make_tokens

HERE = DocumentCursor("file:///a.py", "def add(a, b):\n    ", "\n\nx = 1\n", "python")
ANSWER = Answer(HERE, make_tokens("return", " a", " +", " b"), SuggestionShape.LINE, complete=True, model="m")


def recent(*answers: Answer) -> Answers:
    known = Answers()
    for answer in answers:
        known.keep(answer)
    return known


def typed(text: str, cursor: DocumentCursor = HERE) -> DocumentCursor:
    return replace(cursor, before=cursor.before + text)


def test_same_place() -> None:
    """The same place gets the whole answer again."""
    found = recent(ANSWER).at(HERE)
    assert found is not None
    assert (found.typed, found.tokens) == ("", ANSWER.tokens)


@given(st.integers(0, len(ANSWER.text) - 1))
def test_typing_into(length: int) -> None:
    """Typing into an answer returns the rest, and cuts a token that was typed in part."""
    found = recent(ANSWER).at(typed(ANSWER.text[:length]))
    assert found is not None
    assert (found.typed, found.text) == (ANSWER.text[:length], ANSWER.text[length:])
    assert joined(found.tokens) == found.text


@pytest.mark.parametrize(
    "cursor",
    [
        typed("x"),
        typed("return b"),
        typed(ANSWER.text),
        replace(HERE, uri="file:///b.py"),
        replace(HERE, after="\n\nx = 2\n"),
        replace(HERE, before="def sub(a, b):\n    "),
        replace(HERE, before="# more\n" + HERE.before),
    ],
)
def test_other_places(cursor: DocumentCursor) -> None:
    """No answer is found for different text or a different file, or after the answer's end."""
    assert recent(ANSWER).at(cursor) is None


def test_an_empty_document_is_not_every_place() -> None:
    """An answer in an empty document is found only in an empty document."""
    known = recent(replace(ANSWER, cursor=replace(HERE, before="", after="")))
    assert known.at(replace(HERE, before="", after="")) is not None
    assert known.at(replace(HERE, before="x = 1\n", after="")) is None


def test_edits_far_away_do_not_count() -> None:
    """Edits far from the cursor do not invalidate an answer."""
    far = replace(HERE, before="a" * 10 + "b" * CHARACTERS_BEFORE, after="c" * CHARACTERS_AFTER + "d" * 10)
    known = recent(replace(ANSWER, cursor=far))
    assert known.at(replace(far, before="zzz" + "b" * CHARACTERS_BEFORE, after="c" * CHARACTERS_AFTER)) is not None


def test_newest_first() -> None:
    """The newer of two answers at one cursor is found."""
    newer = replace(ANSWER, tokens=make_tokens("pass"))
    found = recent(ANSWER, newer).at(HERE)
    assert found is not None
    assert found.text == "pass"


@pytest.mark.parametrize(
    ("answer", "typing", "closed", "left"),
    [
        ('print("hi")', "print(", ")", '"hi"'),
        ('print(f(1), "hi")\nx', "print(", ")", 'f(1), "hi"'),
        ('"a" + b', '"', '"', "a"),
        ("[x for x in y]", "[", "]", "x for x in y"),
    ],
)
def test_brackets_that_the_editor_closes(answer: str, typing: str, closed: str, left: str) -> None:
    """A bracket or quote that the editor closes is not suggested twice."""
    known = recent(replace(ANSWER, tokens=make_tokens(*answer)))
    found = known.at(replace(typed(typing), after=closed + HERE.after))
    assert found is not None
    assert found.text == left


def test_nothing_left_before_the_closed_bracket() -> None:
    """An answer with nothing but the closed bracket left is not found."""
    assert (
        recent(replace(ANSWER, tokens=make_tokens("f(", ")"))).at(replace(typed("f("), after=")" + HERE.after)) is None
    )


def test_another_model() -> None:
    """The answers of a model are forgotten when another model will answer."""
    known = recent(ANSWER)
    known.forget()
    assert known.at(HERE) is None


def test_forgetting() -> None:
    """Only the newest answers are kept."""
    known = recent(*(replace(ANSWER, cursor=replace(HERE, before=f"{number}\n")) for number in range(300)))
    assert known.at(replace(HERE, before="0\n")) is None
    assert known.at(replace(HERE, before="299\n")) is not None


def test_half_characters_stay() -> None:
    """Tokens of unfinished characters stay before the token that completes the character."""
    tokens = make_tokens("a", "", "é")
    assert [one.text for one in drop_typed(tokens, 1)] == ["", "é"]
