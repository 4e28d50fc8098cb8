"""Bounds the entropy of a distribution of which only the most probable tokens are known."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum, log

ROUNDING = 2.0**-20
"""The largest error of a sum of probabilities whose logarithms have been rounded to float32."""


def entropy_range(known: Sequence[float], highest_unknown: float, vocab: int) -> tuple[float, float]:
    """Return the least and the most entropy in nats of a distribution over ``vocab`` tokens.

    ``known`` are the logprobs of some tokens. No other token has a higher logprob than
    ``highest_unknown``. The entropy is least if the others are as probable as may be, and most if
    all of them are alike.
    """
    probabilities = [exp(logprob) for logprob in known]
    entropy = fsum(
        -probability * logprob for probability, logprob in zip(probabilities, known, strict=True) if probability
    )
    others, rest = vocab - len(known), 1.0 - fsum(probabilities)
    if others <= 0:
        return entropy, entropy
    least, most = max(rest - ROUNDING, 0.0), min(max(rest, 0.0) + ROUNDING, 1.0)
    return entropy - least * min(highest_unknown, 0.0), entropy - most * log(most / others)
