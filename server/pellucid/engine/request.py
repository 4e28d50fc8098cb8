"""Requests to the engine, and the scores that it returns: ids and probabilities, no text."""

from __future__ import annotations

from collections.abc import Sequence as IdSequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from torch import Tensor

from pellucid.tokens import SamplingParams, Terms


class Constraint(Protocol):
    """A restriction of the tokens that may come next (token healing, a grammar).

    A constraint belongs to one request and is only ever called on the engine's thread.
    """

    def allowed(self) -> Tensor | None:
        """Return the ids (int64) of the tokens that may come next, never empty; None allows every token."""
        ...

    def advance(self, id: int) -> None:
        """Advance over a token that was chosen."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to continue, or, with ``score_from``, to score.

    ``score_from`` is the index of the first prompt token whose probability is wanted: scores of the prompt tokens from
    there on come before the generated ones. ``stop_ids`` end the answer and are not part of it. Without ``lookup`` no
    token is guessed, which changes only the time that the answer takes.
    """

    prompt: IdSequence[int]
    params: SamplingParams = SamplingParams()
    terms: Terms = Terms()
    stop_ids: frozenset[int] = frozenset()
    score_from: int | None = None
    constraint: Constraint | None = field(default=None, compare=False)
    lookup: bool = True


@dataclass(frozen=True, slots=True)
class Admission:
    """A request got its slot after ``queued`` seconds, with the first ``cached`` tokens of its prompt in it."""

    cached: int
    queued: float


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
