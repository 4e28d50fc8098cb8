"""Bounds on the entropy of a partly known distribution."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum, log

ROUNDING = 2.0**-20
"""Maximum error of a sum of probabilities from float32 logarithms."""


def entropy_range(known: Sequence[float], highest_unknown: float, vocab: int) -> tuple[float, float]:
    """Return the minimum and maximum entropy in nats of a distribution over ``vocab`` tokens.

    ``known`` are the logprobs of some tokens; no unknown token exceeds ``highest_unknown``. The
    entropy is minimal if unknown tokens are as probable as possible, maximal if equally probable.
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
