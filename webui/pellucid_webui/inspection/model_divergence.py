"""Compares two models on one text: the divergence of their distributions, the agreement of their first choices, perplexities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log

from pellucid.tokens import Token
from pellucid_webui.inspection.alignment import Segment, align

MIN_PROBABILITY = 1e-12
"""Replaces a probability that was rounded to zero."""

MAX_SURPRISAL_NATS = 700.0
"""Largest mean surprisal per token whose perplexity is a finite float."""


@dataclass(frozen=True, slots=True)
class ComparisonSummary:
    """Figures of a text under two models A and B: perplexities per token, and the share of segments with the same first choice.

    ``kl`` is a lower bound of KL(A || B) in nats, the mean over the segments that are one token to both; None if there are none.
    """

    segments: int
    perplexity_a: float | None
    perplexity_b: float | None
    agreement: float | None
    kl: float | None


def divergence_at_least(a: Token, b: Token) -> float | None:
    """Return a lower bound in nats of the Kullback-Leibler divergence KL(A || B) of two models' choices, from their alternatives.

    Alternatives that both models list are compared one by one, and all other tokens as one class. Merging classes can only
    lower the divergence (the log sum inequality, Cover and Thomas, Elements of Information Theory). None if a model lists no
    alternatives. Alternatives are matched by their bytes, since ids differ between tokenizers.
    """
    if not a.top or not b.top:
        return None
    masses_a, masses_b = _masses(a), _masses(b)
    both = masses_a.keys() & masses_b.keys()
    pairs = [(masses_a[bytes], masses_b[bytes]) for bytes in sorted(both)]
    pairs.append((_rest(a, masses_a, both), _rest(b, masses_b, both)))
    return max(sum(p * log(max(p, MIN_PROBABILITY) / max(q, MIN_PROBABILITY)) for p, q in pairs), 0.0)


def segment_divergence(segment: Segment) -> float | None:
    """Return ``divergence_at_least`` of a segment that is one token to both models; None for other segments."""
    if len(segment.a) != 1 or len(segment.b) != 1:
        return None
    return divergence_at_least(segment.a[0], segment.b[0])


def agrees(segment: Segment) -> bool | None:
    """Return whether both models have the same first choice at the segment's start; None if one lists no alternatives."""
    first_a, first_b = (tokens[0].top[0].bytes if tokens and tokens[0].top else None for tokens in (segment.a, segment.b))
    return None if first_a is None or first_b is None else first_a == first_b


def summarise(a: Sequence[Token], b: Sequence[Token]) -> ComparisonSummary:
    """Return the figures of a text that two models have read. Raises ValueError if the two texts differ."""
    segments = align(a, b)
    agreeing = [agreed for segment in segments if (agreed := agrees(segment)) is not None]
    divergences = [kl for segment in segments if (kl := segment_divergence(segment)) is not None]
    return ComparisonSummary(len(segments), perplexity(a), perplexity(b), _mean(agreeing), _mean(divergences))


def perplexity(tokens: Iterable[Token]) -> float | None:
    """Return the exponential of the mean negative logprob per token; None if no token has a logprob."""
    mean = _mean([token.logprob for token in tokens if token.logprob is not None])
    return None if mean is None else exp(min(-mean, MAX_SURPRISAL_NATS))


def _masses(token: Token) -> dict[bytes, float]:
    """Return the probabilities of the alternatives by their bytes; ids with the same bytes are added up."""
    masses: dict[bytes, float] = {}
    for one in token.top:
        masses[one.bytes] = masses.get(one.bytes, 0.0) + exp(one.logprob)
    return masses


def _rest(token: Token, masses: dict[bytes, float], compared: Iterable[bytes]) -> float:
    """Return the probability of all tokens except the compared ones."""
    excluded = set(compared)
    return token.rest + sum(mass for bytes, mass in masses.items() if bytes not in excluded)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
