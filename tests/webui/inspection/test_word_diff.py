"""Tests the differences of two texts in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid_webui.inspection.word_diff import differences

WORDS = st.lists(st.sampled_from(["a", "year", "is", " ", "\n", "(", "2"]), max_size=30).map("".join)


def without(text: str, parts: list[tuple[int, int]]) -> str:
    for start, end in reversed(parts):
        text = text[:start] + text[end:]
    return text


@given(WORDS, WORDS)
def test_the_rest_is_the_same(a: str, b: str) -> None:
    """Outside of the differences both texts are equal, and no difference is empty."""
    found = differences(a, b)
    assert without(a, [one.a for one in found]) == without(b, [one.b for one in found])
    assert all(a[slice(*one.a)] + b[slice(*one.b)] for one in found)
    assert found or a == b


@given(WORDS)
def test_the_same_text(text: str) -> None:
    """A text does not differ from itself."""
    assert differences(text, text) == []


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("It is blue.", "It is green.", [("blue", "green")]),
        ("It is.", "It is so.", [("", " so")]),
        ("one two three", "one four five", [("two three", "four five")]),
        ("", "all of it", [("", "all of it")]),
        ("walk", "walking", [("walk", "walking")]),
    ],
)
def test_words(a: str, b: str, expected: list[tuple[str, str]]) -> None:
    """Texts differ in whole words, and adjacent words are a single difference."""
    assert [(a[slice(*one.a)], b[slice(*one.b)]) for one in differences(a, b)] == expected


def test_one_word_of_many() -> None:
    """In a text of a few frequent words, only the changed word differs."""
    words = [f"word{number % 12}" for number in range(300)]
    changed = [*words[:150], "other", *words[151:]]
    (found,) = differences(" ".join(words), " ".join(changed))
    assert (" ".join(words)[slice(*found.a)], " ".join(changed)[slice(*found.b)]) == ("word6", "other")
