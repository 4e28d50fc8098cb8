"""Requests to the engine."""

from __future__ import annotations

from collections.abc import Sequence as IdSequence
from dataclasses import dataclass, field
from typing import Protocol

from pellucid.engine.embedded_run import EmbeddedRun
from pellucid.engine.token_mask import TokenMask
from pellucid.vocabulary.query import SamplingParams, Terms


class ConstraintError(ValueError):
    """A constraint that cannot continue an answer: the request is at fault, not the engine."""


class Constraint(Protocol):
    """A restriction of the next token (token healing, a grammar).

    A constraint belongs to one request and is called only on the engine's thread.
    """

    @property
    def hides_refused(self) -> bool:
        """True if alternatives and probabilities cover only allowed tokens.

        Token healing hides tokens that contradict the prompt; a grammar shows the model's own
        choices.
        """
        ...

    def allowed(self) -> TokenMask | None:
        """Return the nonempty set of allowed tokens; None allows every token.

        Use the result before the next call.
        """
        ...

    def forced(self) -> list[int]:
        """Return the forced next tokens, as far as known at little cost. Never fails."""
        ...

    def advance(self, id: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """A sequence to continue, to score (``score_from``), or to pool (``pool``).

    - ``score_from``: first prompt token to score. Prompt scores precede generated tokens.
    - ``stop_ids``: tokens that end the answer, not part of the answer.
    - ``lookup``: allow guessed tokens; guesses change only the speed.
    - ``prediction``: tokens expected in the answer; a prediction changes only the speed.
    - ``pool``: sum the hidden states, generate nothing. The whole prompt is computed, because a
      cached prefix has no hidden states.
    - ``keep``: keep the slot's content. Otherwise, and with ``pool``, the slot is emptied at the
      end: many texts without continuation displace only one cached prefix.
    - ``session``: requests of a session begin alike, so remote engines use the same machine.
    - ``cache_salt``: only requests with the same salt share cached prefixes.
    - ``embedded``: the rows of the prompt's ids below 0, in order.
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
    embedded: IdSequence[EmbeddedRun] = ()


@dataclass(frozen=True, slots=True)
class Admission:
    """Reports the seconds ``queued`` for a slot, and the number of ``cached`` prompt tokens."""

    cached: int
    queued: float
