"""Tests of the ends of answers before a line with too little indentation, and by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.text.stopping import LeastIndent, StopGate, TimeLimit
from pellucid.vocabulary.finish import FinishReason
from support.servers.http_servers import spoken


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def run(pieces: Sequence[str], indent: int = 0, seconds: float = 0.0) -> tuple[str, FinishReason | None]:
    """Return the text that passes the gate, and the reason if a rule ended the text."""
    time_limit = [TimeLimit(seconds, Clock())] if seconds else []
    gate = StopGate([*time_limit, *([LeastIndent(indent)] if indent else [])])
    tokens = [token for piece in pieces for token in gate.feed([spoken(piece)])] + gate.finish()
    return "".join(token.text for token in tokens), gate.reason


@pytest.mark.parametrize(
    ("text", "indent", "expected"),
    [
        ("a\n    b\nc", 4, "a\n    b"),
        ("a\n    b\n  c", 4, "a\n    b"),
        ("a\n    b\n    c", 4, "a\n    b\n    c"),
        ("a\n\tb\nc", 1, "a\n\tb"),
        ("a\n\n\n    b", 4, "a\n\n\n    b"),
        ("a\n\n\nb", 4, "a"),
        ("    \n    b\nc", 4, "    \n    b"),
        ("a\r\n    b\r\nc", 4, "a\r\n    b"),
        ("return a\n", 4, "return a\n"),
        ("a\nb", 0, "a\nb"),
    ],
)
def test_indent(text: str, indent: int, expected: str) -> None:
    """An answer ends before a line with less indentation, except empty lines and the first line."""
    for pieces in (list(text), [text], [text[:3], text[3:]]):
        assert run(pieces, indent) == (expected, None if expected == text else FinishReason.LENGTH)


@settings(derandomize=True, max_examples=500)
@given(st.text("a \n\t\r", max_size=30), st.lists(st.integers(0, 30)), st.integers(1, 4))
def test_indent_does_not_depend_on_the_pieces(text: str, cuts: list[int], indent: int) -> None:
    """The text that passes does not depend on the split into tokens."""
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(bounds)]

    assert run(pieces, indent) == run([text], indent)


def test_time_counts_after_a_line_end() -> None:
    """The time limit ends an answer only after a line end."""
    assert run(list("abcdef"), seconds=2)[0] == "abcdef"
    assert run(list("a\nbcdef"), seconds=3)[0] == "a\nbc"
    assert run(list("abcd\nef"), seconds=2)[0] == "abcd\n"
    assert run(list("a\nbcdef"), seconds=0, indent=0)[0] == "a\nbcdef"
