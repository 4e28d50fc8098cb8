"""Recent answers are found again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.recent_answers import CHARACTERS_AFTER, CHARACTERS_BEFORE, RecentAnswer, RecentAnswers
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.suggestion import DocumentCursor, Suggestion, drop_typed
from support.editors.token_factory import joined, make_tokens

HERE = DocumentCursor("file:///a.py", "def add(a, b):\n    ", "\n\nx = 1\n", "python")
ANSWER = RecentAnswer(HERE, make_tokens("return", " a", " +", " b"), SuggestionShape.LINE, complete=True, model="m")


def recent(*answers: RecentAnswer) -> RecentAnswers:
    known = RecentAnswers()
    for answer in answers:
        known.keep(answer)
    return known


def typed(text: str, cursor: DocumentCursor = HERE) -> DocumentCursor:
    return replace(cursor, before=cursor.before + text)


def test_same_place() -> None:
    """The same place gets the whole answer again."""
    found = recent(ANSWER).find(HERE)

    assert found is not None
    assert (found.typed, found.tokens) == ("", ANSWER.tokens)


@given(st.integers(0, len(ANSWER.text) - 1))
def test_typing_into(length: int) -> None:
    """Typing into an answer returns the rest of it; a token that was typed in part is cut."""
    found = recent(ANSWER).find(typed(ANSWER.text[:length]))

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
    """No answer is found for other text, another file, other text after the cursor, or a fully typed answer."""
    assert recent(ANSWER).find(cursor) is None


def test_an_empty_document_is_not_every_place() -> None:
    """An answer in an empty document is found only in an empty document."""
    known = recent(replace(ANSWER, cursor=replace(HERE, before="", after="")))

    assert known.find(replace(HERE, before="", after="")) is not None
    assert known.find(replace(HERE, before="x = 1\n", after="")) is None


def test_edits_far_away_do_not_count() -> None:
    """Edits far from the cursor do not invalidate an answer."""
    far = replace(HERE, before="a" * 10 + "b" * CHARACTERS_BEFORE, after="c" * CHARACTERS_AFTER + "d" * 10)
    known = recent(replace(ANSWER, cursor=far))

    assert known.find(replace(far, before="zzz" + "b" * CHARACTERS_BEFORE, after="c" * CHARACTERS_AFTER)) is not None


def test_newest_first() -> None:
    """The newer of two answers at one cursor is found."""
    newer = replace(ANSWER, tokens=make_tokens("pass"))

    found = recent(ANSWER, newer).find(HERE)

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
    """A bracket or quote that the editor closes by itself is not suggested twice."""
    known = recent(replace(ANSWER, tokens=make_tokens(*answer)))

    found = known.find(replace(typed(typing), after=closed + HERE.after))

    assert found is not None
    assert found.text == left


def test_nothing_left_before_the_closed_bracket() -> None:
    """Nothing remains of an answer that only closes what the editor has closed."""
    assert (
        recent(replace(ANSWER, tokens=make_tokens("f(", ")"))).find(replace(typed("f("), after=")" + HERE.after))
        is None
    )


def suggestion(text: str = "return a", cursor: DocumentCursor = HERE) -> Suggestion:
    return Suggestion("1", cursor, text, make_tokens(text), "m", SuggestionShape.LINE)


def test_dismissed() -> None:
    """A dismissed text is recognised at its cursor, however much of it is typed, and nowhere else."""
    known = RecentAnswers()
    known.dismiss(suggestion())

    assert known.is_dismissed(HERE, "return a")
    assert known.is_dismissed(typed("ret"), "urn a")
    assert not known.is_dismissed(HERE, "return b")
    assert not known.is_dismissed(typed("x = "), "return a")


def test_accepted() -> None:
    """Accepted suggestions are found by their document, the newest first; others are not."""
    known = RecentAnswers()
    one, two = suggestion(), replace(suggestion("pass"), id="2")
    for each in (one, two):
        known.add(each)
        assert known.accept(each, len(each.text))
    known.add(replace(suggestion("raise"), id="3"))

    assert [each.id for each in known.accepted(HERE.uri)] == ["2", "1"]
    assert list(known.accepted("file:///b.py")) == []
    assert (known.is_accepted("1"), known.is_accepted("3")) == (True, False)


def test_accepted_in_parts() -> None:
    """A part that was accepted grows with the next one, and counts once; the whole suggestion stays known."""
    known = RecentAnswers()
    one = replace(suggestion(), tokens=make_tokens("return", " a"))
    known.add(one)

    assert known.accept(one, 3)
    assert [each.text for each in known.accepted(HERE.uri)] == ["ret"]
    assert not known.accept(one, 7)
    assert [joined(each.tokens) for each in known.accepted(HERE.uri)] == ["return "]
    assert known.get("1") == one


def test_remainders_of_an_accepted_suggestion() -> None:
    """Accepting the rest of a suggestion, which has an id of its own then, does not count again; another suggestion does."""
    known = RecentAnswers()
    rest = replace(suggestion(" a", typed("return")), id="2")

    assert [known.accept(one, 1) for one in (suggestion(), rest)] == [True, False]
    assert known.accept(replace(suggestion("return b"), id="3"), 1)


def test_shown_once() -> None:
    """A suggestion is shown once while the user types into it; another text, or the same one after another, is shown again."""
    known = RecentAnswers()
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
    """The beginning of a suggestion and the whole of it are one, however much was typed between; another whole is a second one."""
    here = replace(HERE, before=above + HERE.before)
    beginning = replace(suggestion("return", here), partial=True)
    whole = replace(suggestion("return a + b"[length:], typed("return"[:length], here)), id="2")
    other = replace(suggestion("raise E", here), id="3")

    for text, new in ((whole, False), (other, True)):
        known = RecentAnswers()
        assert [known.note_shown(one) for one in (beginning, text)] == [True, new]
        assert [known.accept(one, 1) for one in (beginning, text)] == [True, new]


def test_another_model() -> None:
    """The answers of one model are not those of another; what was accepted stays."""
    known = recent(ANSWER)
    known.add(suggestion())
    known.accept(suggestion(), 8)

    known.forget_answers()

    assert known.find(HERE) is None
    assert [each.id for each in known.accepted(HERE.uri)] == ["1"]


def test_forgetting() -> None:
    """Only the last answers and suggestions are kept."""
    known = RecentAnswers()
    for number in range(300):
        known.keep(replace(ANSWER, cursor=replace(HERE, before=f"{number}\n")))
        known.add(replace(suggestion(), id=str(number)))

    assert known.find(replace(HERE, before="0\n")) is None
    assert known.find(replace(HERE, before="299\n")) is not None
    assert (known.get("0"), known.get("299") is not None) == (None, True)


def test_half_characters_stay() -> None:
    """Tokens without text of their own, halves of a character, stay before the token that completes it."""
    tokens = make_tokens("a", "", "é")

    assert [one.text for one in drop_typed(tokens, 1)] == ["", "é"]
