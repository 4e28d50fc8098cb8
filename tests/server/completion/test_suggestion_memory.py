"""Tests of the memory of shown, accepted and dismissed suggestions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pellucid.completion.cursor_keys import CHARACTERS_BEFORE
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.find_accepted_suggestion import locate, token_at
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.suggestion import Suggestion
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


OFFERED = DocumentCursor("file:///a.py", "def f():\n    return ", "\n", position=(1, 11))
ACCEPTED = Suggestion("1", OFFERED, "a + b", make_tokens("a", " +", " b"), "m", SuggestionShape.LINE)


@pytest.mark.parametrize(
    "marked",
    [
        "def f():\n    return ▶a + b\n",
        "# more\n\ndef f():\n    return ▶a + b\n",
        "x = a + b\ndef f():\n    return ▶a + b\ny = a + b\n",
        "def g():\n    return a + b\n\ndef f():\n    return ▶a + b\n",
        "def f():\n    if x:\n        return ▶a + b\n",
        "y = a + b\n",
        "def f():\n    return a - b\n",
    ],
)
def test_locate(marked: str) -> None:
    """An unedited suggestion is found by the text before the suggestion, in any indentation."""
    wanted = marked.find("▶")
    assert locate(marked.replace("▶", ""), ACCEPTED) == (None if wanted < 0 else wanted)


@pytest.mark.parametrize(
    ("before", "text", "marked"),
    [
        ("value = ", "1", "# the value line was deleted\nx = [3, 1]\n"),
        ("value = ", "1", "x = 1\nvalue = ▶1\nother_value = 1\n"),
        ("x = compute_all(", "y)", "renamed = compute_all(▶y)\n"),
        ("f(", "y)", "gf(y)\n"),
        ("if a {\n    b\n", "}", "if a {\n    b\n▶}\n\nif c {\n    d\n}\n"),
        ("if a {\n    b\n", "}", "if c {\n    d\n}\n"),
        ("", "import os", "▶import os\n"),
        ("", "import os", "\n▶import os\n"),
        ("", "import os", "import sys\nimport os\n"),
        ("x = ", "compute_all(first, second)", "y = 3 * ▶compute_all(first, second)\n"),
        ("x = ", "compute_all(first, second)", "y = compute_all(first, second)\nz = compute_all(first, second)\n"),
        ("x = ", "-" * 30, "y = " + "-" * 30),
    ],
)
def test_what_tells_it(before: str, text: str, marked: str) -> None:
    """A suggestion is found by its line's beginning, by text before, or by a unique long text."""
    suggestion = Suggestion(
        "1", DocumentCursor("file:///a.py", before, ""), text, make_tokens(text), "m", SuggestionShape.LINE
    )
    assert locate(marked.replace("▶", ""), suggestion) == (marked.index("▶") if "▶" in marked else None)


@pytest.mark.parametrize("before", ["    foo(bar(baz", "", "nowhere", "a\n" * 20 + "    foo(bar(baz"])
def test_a_long_document_is_read_a_few_times(before: str) -> None:
    """The search for a short text takes time proportional to the document."""
    suggestion = Suggestion(
        "1", DocumentCursor("file:///a.py", before, ""), ")", make_tokens(")"), "m", SuggestionShape.LINE
    )
    short, long = (_Counted("    foo(bar(baz), qux[1])\n" * lines) for lines in (300, 3_000))
    assert (locate(long, suggestion) is None) == (locate(short, suggestion) is None)
    assert long.read <= 12 * short.read


class _Counted(str):
    """A text with a count of the characters read."""

    read = 0

    def find(self, *args: Any) -> int:
        found = super().find(*args)
        start = args[1] if len(args) > 1 else 0
        self.read += (len(self) if found < 0 else found + len(args[0])) - start
        return found

    def count(self, *args: Any) -> int:
        self.read += (args[2] if len(args) > 2 else len(self)) - (args[1] if len(args) > 1 else 0)
        return super().count(*args)

    def rfind(self, *args: Any) -> int:
        found = super().rfind(*args)
        self.read += (args[2] if len(args) > 2 else len(self)) - max(found, 0)
        return found

    def __getitem__(self, key: Any) -> str:
        found = super().__getitem__(key)
        self.read += len(found)
        return found


@pytest.mark.parametrize(("offset", "index"), [(-1, None), (0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, None)])
def test_token_at(offset: int, index: int | None) -> None:
    """A character within a suggestion belongs to the token with the character."""
    assert token_at(ACCEPTED, offset) == index
