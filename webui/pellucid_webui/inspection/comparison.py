"""Two models on one text: what each finds likelier, how far their distributions are apart, and what that sums up to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log

from pellucid.tokens import Token
from pellucid_webui.inspection.alignment import Segment, align

MIN_PROBABILITY = 1e-12
"""What stands for a probability that is rounded to nothing."""

MAX_SURPRISAL_NATS = 700.0
"""Nats a token beyond which a perplexity is no number that a computer has."""


@dataclass(frozen=True, slots=True)
class ComparisonSummary:
    """Of a text under two models A and B: perplexities by token of each model, the share of segments with the same first choice, KL.

    ``kl`` is the mean over the segments that are one token to both, in nats, None where there is none: of A from B, at least.
    """

    segments: int
    perplexity_a: float | None
    perplexity_b: float | None
    agreement: float | None
    kl: float | None


def divergence_at_least(a: Token, b: Token) -> float | None:
    """The Kullback-Leibler divergence KL(A || B) of the choices that two models had, in nats, from what was kept of them.

    The alternatives that both have kept are told apart, all others are taken as one: what is merged can only lower the
    divergence (Cover and Thomas, Elements of Information Theory, the log sum inequality), so it is at least this. None where
    nothing was kept. The tokens are told apart by their bytes: ids mean something within one tokenizer only.
    """
    if not a.top or not b.top:
        return None
    kept_a, kept_b = _masses(a), _masses(b)
    both = kept_a.keys() & kept_b.keys()
    pairs = [(kept_a[bytes], kept_b[bytes]) for bytes in sorted(both)]
    pairs.append((_rest(a, kept_a, both), _rest(b, kept_b, both)))
    return max(sum(p * log(max(p, MIN_PROBABILITY) / max(q, MIN_PROBABILITY)) for p, q in pairs), 0.0)


def segment_divergence(segment: Segment) -> float | None:
    """That of a segment which is one token to both models; None for others."""
    if len(segment.a) != 1 or len(segment.b) != 1:
        return None
    return divergence_at_least(segment.a[0], segment.b[0])


def agrees(segment: Segment) -> bool | None:
    """Whether both models' first choice where the segment begins is the same; None where one of them had no choice."""
    first_a, first_b = (tokens[0].top[0].bytes if tokens and tokens[0].top else None for tokens in (segment.a, segment.b))
    return None if first_a is None or first_b is None else first_a == first_b


def summarise(a: Sequence[Token], b: Sequence[Token]) -> ComparisonSummary:
    """Of a text as two models read it. Raises ValueError where it is not the same text."""
    segments = align(a, b)
    agreeing = [found for segment in segments if (found := agrees(segment)) is not None]
    divergences = [kl for segment in segments if (kl := segment_divergence(segment)) is not None]
    return ComparisonSummary(len(segments), perplexity(a), perplexity(b), _mean(agreeing), _mean(divergences))


def perplexity(tokens: Iterable[Token]) -> float | None:
    """The exponential of the mean negative logprob by token; None where no token has one."""
    mean = _mean([token.logprob for token in tokens if token.logprob is not None])
    return None if mean is None else exp(min(-mean, MAX_SURPRISAL_NATS))


def _masses(token: Token) -> dict[bytes, float]:
    """The probabilities of what was kept; two ids of the same bytes are one."""
    found: dict[bytes, float] = {}
    for one in token.top:
        found[one.bytes] = found.get(one.bytes, 0.0) + exp(one.logprob)
    return found


def _rest(token: Token, kept: dict[bytes, float], apart: Iterable[bytes]) -> float:
    """The probability of everything but what is told apart."""
    told = set(apart)
    return token.rest + sum(mass for bytes, mass in kept.items() if bytes not in told)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
