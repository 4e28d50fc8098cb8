"""Tests of correctness: a suggestion is right if the file continues with the suggestion."""

from __future__ import annotations

import pytest

from pellucid.learn.calibrate.replay import is_right


@pytest.mark.parametrize(
    ("text", "truth", "right"),
    [
        ("urn total", "urn total\n\nx", True),
        ("urn total  ", "urn total", True),
        ("a\nb", "a  \nb\n", True),
        ("foo(a)", "foo(a).bar()", True),
        ("foo(", "foo(a)", True),
        ("tot", "total", False),
        ("total", "total_of", False),
        ("é", "été", False),
        ("1", "12", False),
        ("urn a", "urn total", False),
        ("urn total\nx", "urn total", False),
        ("a\n\nb", "a\nb", False),
    ],
)
def test_right(text: str, truth: str, *, right: bool) -> None:
    """A prefix of the file's text is right, ignoring trailing blanks, unless a word is cut."""
    assert is_right(text, truth) is right
