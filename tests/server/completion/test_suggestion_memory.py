"""Tests of the memory of shown, accepted and dismissed suggestions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pellucid.completion.cursor_keys import CHARACTERS_BEFORE
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.suggestion import DocumentCursor, Suggestion
from pellucid.completion.suggestion_memory import SuggestionMemory
from support.editors.token_factory import joined, make_tokens

HERE = DocumentCursor("file:///a.py", "def add(a, b):\n    ", "\n\nx = 1\n", "python")


def typed(text: str, cursor: DocumentCursor = HERE) -> DocumentCursor:
    return replace(cursor, before=cursor.before + text)


def suggestion(text: str = "return a", cursor: DocumentCursor = HERE) -> Suggestion:
    return Suggestion("1", cursor, text, make_tokens(text), "m", SuggestionShape.LINE)


def test_dismissed() -> None:
    """A dismissed text is recognised at its cursor, also typed in part, and nowhere else."""
    known = SuggestionMemory()
    known.dismiss(suggestion())

    assert known.is_dismissed(HERE, "return a")
    assert known.is_dismissed(typed("ret"), "urn a")
    assert not known.is_dismissed(HERE, "return b")
    assert not known.is_dismissed(typed("x = "), "return a")


def test_accepted() -> None:
    """Accepted suggestions of a document are found, the newest first."""
    known = SuggestionMemory()
    one, two = suggestion(), replace(suggestion("pass"), id="2")
    for each in (one, two):
        known.add(each)
        assert known.accept(each, len(each.text))
    known.add(replace(suggestion("raise"), id="3"))

    assert [each.id for each in known.accepted(HERE.uri)] == ["2", "1"]
    assert list(known.accepted("file:///b.py")) == []
    assert (known.is_accepted("1"), known.is_accepted("3")) == (True, False)


def test_accepted_in_parts() -> None:
    """An accepted part grows with the next part and counts once, and the whole stays known."""
    known = SuggestionMemory()
    one = replace(suggestion(), tokens=make_tokens("return", " a"))
    known.add(one)

    assert known.accept(one, 3)
    assert [each.text for each in known.accepted(HERE.uri)] == ["ret"]
    assert not known.accept(one, 7)
    assert [joined(each.tokens) for each in known.accepted(HERE.uri)] == ["return "]
    assert known.get("1") == one


def test_remainders_of_an_accepted_suggestion() -> None:
    """Accepting the rest of a suggestion does not count again, unlike a new suggestion."""
    known = SuggestionMemory()
    rest = replace(suggestion(" a", typed("return")), id="2")

    assert [known.accept(one, 1) for one in (suggestion(), rest)] == [True, False]
    assert known.accept(replace(suggestion("return b"), id="3"), 1)


def test_shown_once() -> None:
    """A suggestion is shown once while typed, and is shown again after a different suggestion."""
    known = SuggestionMemory()
    rest, other = suggestion("urn a", typed("ret")), suggestion("return b")

    assert [known.note_shown(one) for one in (suggestion(), suggestion(), rest, other, suggestion())] == [
        True,
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("above", ["", "# " + "x" * CHARACTERS_BEFORE + "\n"])
@pytest.mark.parametrize("length", [0, 3, len("return")])
def test_partial_suggestions_count_once(above: str, length: int) -> None:
    """Beginning and whole of a suggestion count once despite typing, unlike a different whole."""
    here = replace(HERE, before=above + HERE.before)
    beginning = replace(suggestion("return", here), partial=True)
    whole = replace(suggestion("return a + b"[length:], typed("return"[:length], here)), id="2")
    other = replace(suggestion("raise E", here), id="3")

    for text, new in ((whole, False), (other, True)):
        known = SuggestionMemory()
        assert [known.note_shown(one) for one in (beginning, text)] == [True, new]
        assert [known.accept(one, 1) for one in (beginning, text)] == [True, new]


def test_forgetting() -> None:
    """Only the newest suggestions are kept."""
    known = SuggestionMemory()
    for number in range(300):
        known.add(replace(suggestion(), id=str(number)))

    assert (known.get("0"), known.get("299") is not None) == (None, True)
