"""Tests of the thresholds for the shown part of a suggestion."""

from __future__ import annotations

from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.settings import GateLevel
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.shaping.part_ends import part_ends
from pellucid.completion.suggestion import DocumentCursor, truncate
from pellucid.completion.trust.threshold_gate import THRESHOLDS, judge, measure
from support.editors.token_factory import healed, joined, make_tokens, token


def ends_of(text: str) -> list[int]:
    """Return where the parts of a suggestion may end in a Python file."""
    return list(part_ends(ParsedCursor(DocumentCursor("untitled:1", "", "", "python")), text))


probabilities = st.floats(1e-6, 1.0)
texts = st.lists(st.sampled_from(["return", " a", " +", "\n", "    ", "(", "x", ")", ""]), max_size=12).map(
    lambda words: ["go", *words]
)


def test_sure() -> None:
    """A suggestion of sure tokens is shown whole at every level."""
    tokens = make_tokens("return", " a", " +", " b", p=0.95)

    assert [judge(tokens, level).length for level in GateLevel] == [len("return a + b")] * 3


def test_values() -> None:
    """The values are the first probability, the geometric mean and the least probability."""
    values = measure((*make_tokens("a", p=0.5), *make_tokens("b", p=0.125), token("", 1e-3)))

    assert all(isclose(values[name], wanted) for name, wanted in {"first": 0.5, "mean": 0.25, "least": 0.125}.items())


def test_a_healed_token_counts_among_those_that_repeat_what_was_typed() -> None:
    """A healed word has its probability given the typed letters: 0.09 of 0.1 is 0.9."""
    tokens = (healed("mport", 0.09, 0.1, {"nput": 0.005}), *make_tokens(" os"))

    assert isclose(measure(tokens)["first"], 0.9)
    assert judge(tokens, GateLevel.NORMAL).length == len("mport os")
    assert judge((token("mport", 0.09), *make_tokens(" os")), GateLevel.NORMAL).length == 0


def test_unsure_first_token_hides_all() -> None:
    """Nothing is shown without a sure first token, and the reason names the token."""
    verdict = judge((token("return", 0.1), *make_tokens(" a", " +")), GateLevel.QUIET)

    assert verdict.length == 0
    assert "first token's probability is 0.10, below the 0.70 that level quiet requires" in verdict.reason


def test_shortened_to_whole_lines() -> None:
    """A weak token in a later line hides the line, and the lines before stay."""
    tokens = (*make_tokens("if", " a", ":", "\n", "    ", "return", " a"), token("x", 0.001), *make_tokens("\n", "b"))

    assert joined(tokens)[: judge(tokens, GateLevel.NORMAL, [5]).length] == "if a:"


def test_shortened_only_where_a_part_ends() -> None:
    """A weak token in the first line hides all after the last end of a part, or the whole."""
    tokens = (*make_tokens("load", "(", "a", ")", ".", "na"), token("me", 0.001), *make_tokens(" +", " b"))

    assert joined(tokens)[: judge(tokens, GateLevel.NORMAL, [7]).length] == "load(a)"
    assert judge(tokens, GateLevel.NORMAL).length == 0


@pytest.mark.parametrize("level", GateLevel)
@given(words=texts, data=st.data())
def test_what_is_shown_is_sure(level: GateLevel, words: list[str], data: st.DataObject) -> None:
    """The shown part is a beginning of the suggestion, not blank, and above the thresholds."""
    tokens = tuple(token(word, data.draw(probabilities)) for word in words)
    text = joined(tokens)

    verdict = judge(tokens, level, ends_of(text))

    assert text[: verdict.length].strip() or verdict.length == 0
    if verdict.length:
        values = measure(truncate(tokens, verdict.length))
        assert all(values[name] >= least for name, least in THRESHOLDS[level].items())


@given(words=texts, data=st.data())
def test_levels_are_ordered(words: list[str], data: st.DataObject) -> None:
    """A quieter level never shows text that a more eager level hides."""
    tokens = tuple(token(word, data.draw(probabilities)) for word in words)

    quiet, normal, eager = (judge(tokens, level, ends_of(joined(tokens))).length for level in GateLevel)

    assert quiet <= normal <= eager
