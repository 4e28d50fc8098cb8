"""Tests of the features of a suggestion that a calibration judges."""

from __future__ import annotations

from dataclasses import replace
from math import isclose, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import DocumentCursor
from pellucid.completion.trust.features import NAMES, CursorFeatures, features, judged_entropy
from pellucid.vocabulary.token import Token
from support.editors.token_factory import healed, make_tokens, token

HERE = DocumentCursor("file:///a.py", "def add(a, b):\n    total = a + b\n    ret", "\n\nx = 1\n", "python")


def numbers(
    cursor: DocumentCursor = HERE, *texts: str, p: float = 0.5, ending: str = Ending.LINE, whole: bool = True
) -> dict[str, float]:
    tokens = make_tokens(*texts, p=p)
    return dict(
        zip(NAMES, features(tokens, CursorFeatures.read(ParsedCursor(cursor)), ending, whole=whole), strict=True)
    )


def test_probabilities() -> None:
    """Mean, least, first, last and sum are of logprobs, and margins of the best alternative."""
    tokens = (token("urn", 0.5), token(" total", 0.125))
    found = dict(
        zip(NAMES, features(tokens, CursorFeatures.read(ParsedCursor(HERE)), Ending.LINE, whole=True), strict=True)
    )

    assert isclose(found["mean"], log(0.25))
    assert isclose(found["least"], log(0.125))
    assert isclose(found["first"], log(0.5))
    assert isclose(found["last"], log(0.125))
    assert isclose(found["sum"], log(0.0625))
    assert isclose(found["first margin"], log(0.5 / 0.05))
    assert isclose(found["worst margin"], log(0.125 / 0.05))


def test_a_healed_token() -> None:
    """A healed token's probability and margin are relative to the fitting tokens only."""
    tokens = (healed("mport", 0.06, 0.1, {"nput": 0.02}),)
    found = dict(
        zip(NAMES, features(tokens, CursorFeatures.read(ParsedCursor(HERE)), Ending.LINE, whole=True), strict=True)
    )

    assert isclose(found["mean"], log(0.6))
    assert isclose(found["first margin"], log(0.06 / 0.02))


def test_shape() -> None:
    """Lengths are logarithms, and flags are 1 where true."""
    found = numbers(HERE, "urn", " f(", "\n", "x", ending=Ending.LIMIT)

    assert isclose(found["characters"], log(1 + len("urn f(\nx")))
    assert (found["lines"], found["balanced"], found["cut off"], found["stopped"]) == (log(2), 0.0, 1.0, 0.0)
    assert numbers(HERE, "urn", " f()")["balanced"] == 1.0


def test_cut_off_by_the_clock() -> None:
    """A suggestion cut off by time does not count as cut off, as replays have no time limit."""
    assert numbers(HERE, "urn", "\n", ending=Ending.TIME) == numbers(HERE, "urn", "\n", ending=Ending.SCOPE)
    assert numbers(HERE, "urn", "\n", ending=Ending.LIMIT)["cut off"] == 1.0


def test_part() -> None:
    """A part of a suggestion has no ending."""
    found = numbers(HERE, "urn", ending=Ending.STOP, whole=False)

    assert (found["whole"], found["stopped"]) == (0.0, 0.0)
    assert numbers(HERE, "urn", ending=Ending.STOP)["stopped"] == 1.0


@pytest.mark.parametrize(
    ("cursor", "name", "value"),
    [
        (HERE, "mid-word", 1.0),
        (HERE, "no suffix", 0.0),
        (HERE, "line start", 0.0),
        (HERE, "in text", 0.0),
        (HERE, "indentation", 0.1),
        (DocumentCursor("file:///a.py", "x = 1\n    ", "", "python"), "line start", 1.0),
        (DocumentCursor("file:///a.py", "x = 1\n    ", "", "python"), "no suffix", 1.0),
        (DocumentCursor("file:///a.py", "# to do: the ", "", "python"), "in text", 1.0),
        (DocumentCursor("file:///a.py", "    return total\n    ret", "", "python"), "like above", 1.0),
        (DocumentCursor("file:///a.py", "return total\nx = 1\nret", "", "python"), "seen before", 1.0),
        (DocumentCursor("file:///a.py", "return totals\nx = 1\nret", "", "python"), "seen before", 0.0),
    ],
)
def test_cursor(cursor: DocumentCursor, name: str, value: float) -> None:
    """The cursor's features are its position and whether the line occurred before."""
    assert isclose(numbers(cursor, "urn", " total")[name], value)


ENTROPIES = ("first entropy", "worst entropy", "all entropy")


def entropies(one: Token) -> list[float]:
    """Return the features of a suggestion of one token that depend on the entropy."""
    values = features((one,), CursorFeatures.read(ParsedCursor(HERE)), Ending.LINE, whole=True)
    return [dict(zip(NAMES, values, strict=True))[name] for name in ENTROPIES]


def test_a_range_of_entropies_counts_with_its_middle() -> None:
    """A token with bounds of entropy is judged like a token with the middle as exact entropy."""
    bounded = replace(token("urn", 0.5), entropy=None, entropy_range=(1.0, 2.0))
    assert entropies(bounded) == entropies(replace(bounded, entropy=1.5, entropy_range=None))


def test_an_exact_entropy_counts_rather_than_a_range() -> None:
    """An exact entropy, even 0, is preferred to a range."""
    assert judged_entropy(replace(token("urn", 0.5), entropy=0.0, entropy_range=(1.0, 2.0))) == 0.0


@given(st.floats(0.001, 1.0), st.lists(st.floats(0.001, 1.0), min_size=1, max_size=50))
def test_an_unknown_entropy_claims_no_certainty(p: float, others: list[float]) -> None:
    """A token of unknown entropy is at least as unsure as any distribution with its probability."""
    shares = [p, *((1 - p) * share / sum(others) for share in others)]
    exact = -sum(share * log(share) for share in shares if share > 0)
    assert judged_entropy(replace(token("urn", p), entropy=None)) >= exact - 1e-9


def test_a_certain_token_of_unknown_entropy_is_certain() -> None:
    """A probability of 1 is certain although the entropy is unknown."""
    assert judged_entropy(replace(token("urn", 1.0), entropy=None)) == 0.0


def test_entropy_of_all_tokens() -> None:
    """The entropies of all tokens are added."""
    first, second = (replace(token(text, 0.5), entropy=entropy) for text, entropy in (("urn", 0.5), (" a", 1.5)))
    found = dict(
        zip(
            NAMES,
            features((first, second), CursorFeatures.read(ParsedCursor(HERE)), Ending.LINE, whole=True),
            strict=True,
        )
    )

    assert isclose(found["all entropy"], log(1 + 2.0))


@pytest.mark.parametrize(
    ("texts", "unknown"),
    [
        # The document's ret makes return, a new name; total occurs.
        (["urn", " total"], 1),
        (["urn", " total", " +", " other", " +", " other"], 3),
        # Names of one or two characters are not counted.
        (["urn", " a", " +", " bb"], 1),
        # The document's ret stays a name, and both names occur.
        (["\n", "    x", " =", " add"], 0),
    ],
)
def test_unknown_names(texts: list[str], unknown: int) -> None:
    """Names that occur nowhere in the document are counted, including a name's typed beginning."""
    assert isclose(numbers(HERE, *texts)["unknown names"], log(1 + unknown))


def test_a_long_line_without_blanks_takes_no_time() -> None:
    """Only the end of a long word left of the cursor is read."""
    found = numbers(DocumentCursor("file:///a.py", "x" * 1_000_000, "", "python"), "y")

    assert found["unknown names"] == log(2)


@given(texts=st.lists(st.sampled_from(["a", " b", "\n", "(", "é", ""]), min_size=1, max_size=8), p=st.floats(1e-9, 1.0))
def test_finite(texts: list[str], p: float) -> None:
    """Every number is finite for all tokens."""
    found = numbers(HERE, "go", *texts, p=p)

    assert all(-40 < value < 40 for value in found.values())
