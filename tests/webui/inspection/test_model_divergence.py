"""Tests the divergence of two models on a text."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.tokens import Alternative, Token
from pellucid_webui.inspection.alignment import align
from pellucid_webui.inspection.model_divergence import agrees, divergence_at_least, perplexity, segment_divergence, summarise
from support.page.scripted_assistant import tokens

WORDS = ["a", "b", "c", "d", "e", "f"]


def choice(distribution: dict[str, float], kept: int, text: str = "a") -> Token:
    """Return a token of a model with this distribution, with the first ``kept`` alternatives."""
    ranked = sorted(distribution, key=lambda word: -distribution[word])
    top = tuple(Alternative(n, word, word.encode(), math.log(distribution[word])) for n, word in enumerate(ranked[:kept]))
    rest = sum(distribution[word] for word in ranked[kept:])
    return Token(0, text, text.encode(), 0, math.log(distribution[text]), 1, 0.5, top, rest)


def distributions() -> st.SearchStrategy[dict[str, float]]:
    weights = st.lists(st.floats(1e-6, 1), min_size=len(WORDS), max_size=len(WORDS))
    return weights.map(lambda found: {word: weight / sum(found) for word, weight in zip(WORDS, found, strict=True)})


def divergence(p: dict[str, float], q: dict[str, float]) -> float:
    return sum(p[word] * math.log(p[word] / q[word]) for word in p)


@given(distributions(), distributions(), st.integers(1, 6), st.integers(1, 6))
def test_at_least(p: dict[str, float], q: dict[str, float], kept_p: int, kept_q: int) -> None:
    """The alternatives give a lower bound of the divergence, which is exact if all are listed."""
    found = divergence_at_least(choice(p, kept_p), choice(q, kept_q))
    assert found is not None
    assert 0 <= found <= divergence(p, q) + 1e-9
    if kept_p == kept_q == len(WORDS):
        assert found == pytest.approx(divergence(p, q), abs=1e-9)


@given(distributions(), st.integers(1, 6))
def test_the_same_model(p: dict[str, float], kept: int) -> None:
    """A distribution has no divergence from itself, however many alternatives are listed."""
    assert divergence_at_least(choice(p, kept), choice(p, kept)) == 0


def test_nothing_in_common() -> None:
    """Two models without a common alternative may have equal distributions, so the bound is zero."""
    p = dict(zip(WORDS, [0.4, 0.3, 0.1, 0.1, 0.05, 0.05], strict=True))
    q = dict(zip(WORDS, [0.05, 0.05, 0.1, 0.1, 0.3, 0.4], strict=True))
    assert divergence_at_least(choice(p, 2), choice(q, 2)) == pytest.approx(0, abs=1e-12)
    assert divergence_at_least(choice(p, 2), replace(choice(q, 2), top=())) is None


def test_certain_models() -> None:
    """A rest that is rounded to zero causes no division by zero."""
    sure = Token(0, "a", b"a", 0, 0.0, 1, 0.0, (Alternative(0, "a", b"a", 0.0),), rest=0.0)
    other = replace(sure, top=(Alternative(1, "b", b"b", 0.0),))
    assert divergence_at_least(sure, sure) == 0
    assert divergence_at_least(sure, other) == 0  # nothing distinguishes them


def test_ids_of_the_same_bytes() -> None:
    """Two ids with the same bytes are one alternative."""
    twice = Token(0, "a", b"a", 0, -0.7, 1, 0.5, tuple(Alternative(n, "a", b"a", math.log(0.4)) for n in range(2)), rest=0.2)
    once = Token(0, "a", b"a", 0, -0.7, 1, 0.5, (Alternative(0, "a", b"a", math.log(0.8)),), rest=0.2)
    assert divergence_at_least(twice, once) == pytest.approx(0, abs=1e-12)


def test_segments_of_several_tokens() -> None:
    """A divergence belongs to one choice: there is none for a segment of several tokens."""
    (segment,) = align(tokens("a", "b"), tokens("ab"))
    assert segment_divergence(segment) is None
    (segment,) = align(tokens("ab"), tokens("ab"))
    assert segment_divergence(segment) == 0


def test_agrees() -> None:
    """Models agree on a segment if their first choices at its start are equal, whether taken or not."""
    p = dict(zip(WORDS, [0.4, 0.3, 0.1, 0.1, 0.05, 0.05], strict=True))
    (same,) = align([choice(p, 3, "b")], [choice(p, 1, "b")])
    (other,) = align([choice(p, 3, "b")], tokens("b"))
    (unknown,) = align(tokens("b"), [replace(choice(p, 3, "b"), top=())])
    assert [agrees(segment) for segment in (same, other, unknown)] == [True, False, None]


def test_perplexity() -> None:
    """Perplexity covers the tokens with a probability; it is None without them, and always finite."""
    half = replace(tokens("a")[0], logprob=math.log(0.5))
    assert perplexity([half, replace(half, logprob=math.log(0.125)), replace(half, logprob=None)]) == pytest.approx(4)
    assert perplexity([]) is None
    assert perplexity([replace(half, logprob=None)]) is None
    assert math.isfinite(perplexity([replace(half, logprob=-9999.0)]) or 0)


def test_summary() -> None:
    """A summary has the figures of both models."""
    p = dict(zip(WORDS, [0.4, 0.3, 0.1, 0.1, 0.05, 0.05], strict=True))
    q = dict(zip(WORDS, [0.3, 0.4, 0.1, 0.1, 0.05, 0.05], strict=True))
    a = [choice(p, 6, "a"), choice(p, 6, "b")]
    b = [choice(p, 6, "a"), choice(q, 6, "b")]
    found = summarise(a, b)
    assert (found.segments, found.agreement) == (2, 0.5)
    assert found.perplexity_a == pytest.approx((0.4 * 0.3) ** -0.5)
    assert found.perplexity_b == pytest.approx((0.4 * 0.4) ** -0.5)
    assert found.kl == pytest.approx(divergence(p, q) / 2)
    assert summarise([], []) == replace(found, segments=0, perplexity_a=None, perplexity_b=None, agreement=None, kl=None)
