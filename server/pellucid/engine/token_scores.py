"""The scores of a token that the engine returns: probability, rank, entropy of the choice, and alternatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class RowScores(NamedTuple):
    """Scores of rows of logits, one value for each row: the tokens' ids, logprobs and ranks, the entropies, the most probable ids."""

    ids: list[int]
    logprobs: list[float]
    ranks: list[int]
    entropies: list[float]
    top_ids: list[list[int]]
    top_logprobs: list[list[float]]


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token id and its place in the model's distribution. See :class:`pellucid.tokens.Token` for the fields."""

    id: int
    position: int
    logprob: float | None
    rank: int | None
    entropy: float | None
    top: tuple[tuple[int, float], ...] = ()
    rest: float = 1.0
    sampled: float | None = None
    allowed: float = 1.0


class Choice(NamedTuple):
    """A token that a sampler chose, and the probability with which it was drawn.

    Under a constraint, ``allowed`` is the model's probability of all tokens that it allows, and ``top`` holds the most probable
    of them with their logprobs; otherwise ``top`` is None.
    """

    id: int
    sampled: float
    allowed: float = 1.0
    top: tuple[tuple[int, float], ...] | None = None
