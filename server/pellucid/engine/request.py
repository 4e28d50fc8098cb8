"""Requests to the engine: token ids, sampling parameters, terms and constraints."""

from __future__ import annotations

from collections.abc import Sequence as IdSequence
from dataclasses import dataclass, field
from typing import Protocol

from pellucid.engine.token_mask import TokenMask
from pellucid.tokens import SamplingParams, Terms


class ConstraintError(ValueError):
    """A constraint that cannot continue an answer. The request is at fault, not the engine."""


class Constraint(Protocol):
    """A restriction of the tokens that may come next (token healing, a grammar).

    A constraint belongs to one request and is only ever called on the engine's thread.
    ``hides_refused`` is true if tokens that it refuses are no alternatives, because they contradict
    the prompt; if false, they show what the model would have said.
    """

    @property
    def hides_refused(self) -> bool:
        """True if alternatives and their probabilities are those of the allowed tokens only."""
        ...

    def allowed(self) -> TokenMask | None:
        """Return the set of tokens that may come next, never empty; None allows every token.

        It is read before the next call.
        """
        ...

    def forced(self) -> list[int]:
        """Return the tokens that certainly come next, as far as that is known at little cost.

        It never fails.
        """
        ...

    def advance(self, id: int) -> None:
        """Advance over a token that was chosen."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence to continue, to score (with ``score_from``), or to sum the hidden states of (with ``pool``).

    ``score_from`` is the index of the first prompt token whose probability is wanted: scores of the
    prompt tokens from there on come before the generated ones. ``stop_ids`` end the answer and are
    not part of it. Without ``lookup`` no token is guessed, which changes only the time that the
    answer takes. With ``pool`` nothing is generated, and the whole prompt is computed, as a cached
    prefix has no hidden states. With ``pool``, or without ``keep``, its slot is emptied at the end,
    because no request will continue such a text: the next one takes the empty slot, so that many of
    them displace only one cached prefix. ``prediction`` are tokens that the answer may have: they
    change only the time that it takes. Requests with the same ``session`` probably begin alike, so
    that engines elsewhere send them to the same machine. What the cache holds of a request is
    reused only by requests with the same ``cache_salt``.
    """

    prompt: IdSequence[int]
    params: SamplingParams = SamplingParams()
    terms: Terms = Terms()
    stop_ids: frozenset[int] = frozenset()
    score_from: int | None = None
    constraint: Constraint | None = field(default=None, compare=False)
    lookup: bool = True
    pool: bool = False
    keep: bool = True
    session: str | None = None
    cache_salt: str = ""
    prediction: IdSequence[int] = ()


@dataclass(frozen=True, slots=True)
class Admission:
    """A request got its slot after ``queued`` seconds, with the first ``cached`` tokens of its prompt in it."""

    cached: int
    queued: float
