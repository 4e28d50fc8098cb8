"""Tests bounds of the divergence of two choices against exact values of a small vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.inspection.model_divergence import LEAST_PROBABILITY, Bounds, choice_of, divergence, perplexity
from support.trial_counts import trial_count

WORDS = 8
EPSILON = 1e-5


def token(distribution: Sequence[float], kept: int, chosen: int = 0, first_id: int = 0) -> Token:
    """Return a token of a model with this distribution, with the ``kept`` best alternatives."""
    ranked = sorted(range(len(distribution)), key=lambda word: -distribution[word])
    texts = [f"w{word}" for word in range(len(distribution))]
    top = tuple(
        Alternative(first_id + one, texts[one], texts[one].encode(), math.log(distribution[one]))
        for one in ranked[:kept]
    )
    rest = sum(distribution[word] for word in ranked[kept:])
    logprob = math.log(distribution[chosen])
    return Token(
        first_id + chosen, texts[chosen], texts[chosen].encode(), 0, logprob, ranked.index(chosen) + 1, 0.5, top, rest
    )


def distributions() -> st.SearchStrategy[list[float]]:
    weights = st.lists(st.floats(-12, 0), min_size=WORDS, max_size=WORDS).map(
        lambda found: [math.exp(one) for one in found]
    )
    return weights.map(lambda found: [weight / sum(found) for weight in found])


def heated(distribution: Sequence[float], temperature: float) -> list[float]:
    weights = [probability ** (1 / temperature) for probability in distribution]
    return [weight / sum(weights) for weight in weights]


def exact(p: Sequence[float], q: Sequence[float]) -> float:
    return sum(one * math.log(one / other) for one, other in zip(p, q, strict=True) if one > 0)


def bounds(p: Token, q: Token, heat_p: float = 1.0, heat_q: float = 1.0, *, same: bool = True) -> Bounds:
    one, other = choice_of(p, heat_p, by_id=same), choice_of(q, heat_q, by_id=same)
    assert one is not None
    assert other is not None
    return divergence(one, other, same_vocabulary=same)


kept = st.integers(1, WORDS)
chosen = st.integers(0, WORDS - 1)


@settings(max_examples=trial_count(300))
@given(distributions(), distributions(), kept, kept, chosen)
def test_the_exact_value_is_within(p: list[float], q: list[float], kept_p: int, kept_q: int, word: int) -> None:
    """The exact divergence is within the bounds for any number of known alternatives."""
    found = bounds(token(p, kept_p, word), token(q, kept_q, word))
    assert 0 <= found.low <= exact(p, q) + EPSILON
    assert exact(p, q) <= found.high + EPSILON


@settings(max_examples=trial_count(300))
@given(
    distributions(),
    distributions(),
    kept,
    kept,
    st.sampled_from([0.4, 0.7, 1.0, 1.5, 2.0]),
    st.sampled_from([0.5, 1.0, 1.6]),
)
def test_as_sampled(p: list[float], q: list[float], kept_p: int, kept_q: int, heat_p: float, heat_q: float) -> None:
    """The exact divergence is within the bounds also at other temperatures."""
    found = bounds(token(p, kept_p), token(q, kept_q), heat_p, heat_q)
    value = exact(heated(p, heat_p), heated(q, heat_q))
    assert found.low <= value + EPSILON
    assert value <= found.high + EPSILON


@settings(max_examples=trial_count(300))
@given(distributions(), distributions())
def test_everything_known(p: list[float], q: list[float]) -> None:
    """With all tokens listed, both bounds equal the divergence."""
    found = bounds(token(p, WORDS), token(q, WORDS))
    assert found.low == pytest.approx(exact(p, q), abs=EPSILON)
    assert found.high == pytest.approx(exact(p, q), abs=EPSILON)


@settings(max_examples=trial_count(300))
@given(distributions(), kept, st.sampled_from([0.5, 1.0, 2.0]))
def test_the_temperature_alone(p: list[float], kept_p: int, heat: float) -> None:
    """A token's probability at a temperature is within the bounds, or exact if all are listed."""
    found = choice_of(token(p, kept_p), heat)
    assert found is not None
    for id, probability in enumerate(heated(p, heat)):
        known = found.probability(id)
        assert known.low - EPSILON <= probability <= known.high + EPSILON
        if kept_p == WORDS:
            assert known.low == pytest.approx(probability, abs=EPSILON)


def test_a_low_temperature() -> None:
    """At a temperature with powers too small for a float, the first choice is certain."""
    p = [0.04, *[0.96 / 31] * 31]
    for heat in (0.001, 0.01):
        found = choice_of(token(p, 10), heat)
        assert found is not None
        assert found.probability(0).low == pytest.approx(1, abs=1e-3)


def test_an_unknown_token() -> None:
    """A token unlisted by q is less likely than the last alternative, so q diverges."""
    p, q = [0.6, 0.3, 0.05, 0.05], [0.04, 0.06, 0.5, 0.4]
    assert bounds(token(p, 2), token(q, 2, 2)).low == pytest.approx(exact(p, q), rel=0.65)
    assert bounds(token(p, 2), token(q, 2, 2)).low > 0.5


def test_greedy() -> None:
    """A greedy column's divergence is the first choice's surprisal; its reverse is infinite."""
    p, q = [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]
    surprisal = -math.log(0.2)
    found = bounds(token(p, 3), token(q, 3), 0.0, 1.0)
    assert (found.low, found.high) == pytest.approx((surprisal, surprisal))
    assert bounds(token(p, 3), token(q, 3), 1.0, 0.0) == Bounds(math.inf, math.inf)
    assert bounds(token(p, 3), token(q, 3), 0.0, 0.0) == Bounds(math.inf, math.inf)
    assert bounds(token(p, 3), token(p, 3), 0.0, 0.0) == Bounds(0.0, 0.0)


def test_other_vocabularies() -> None:
    """Different tokenizers are compared by bytes, without an upper bound."""
    p = [0.6, 0.3, 0.1]
    found = bounds(token(p, 3), token(p, 3, first_id=50), same=False)
    assert found.low == pytest.approx(0, abs=EPSILON)
    assert found.high == math.inf


def test_the_least_probability() -> None:
    """The upper bound holds for an unlisted token of the least assumed probability."""
    tiny = LEAST_PROBABILITY
    p, q = [0.5, 0.5 - 1e-3, 1e-3], [0.5, tiny, 0.5 - tiny]
    assert bounds(token(p, 2), token(q, 2)).high >= exact(p, q)


def test_no_alternatives() -> None:
    """A token without alternatives gives no choice."""
    assert choice_of(token([0.5, 0.5], 0)) is None


def test_perplexity() -> None:
    """Perplexity counts tokens with a probability, and is finite, or None without tokens."""
    half = token([0.5, 0.5], 1)
    assert perplexity([half, replace(half, logprob=math.log(0.125)), replace(half, logprob=None)]) == pytest.approx(4)
    assert perplexity([]) is None
    assert math.isfinite(perplexity([replace(half, logprob=-9999.0)]) or 0)
