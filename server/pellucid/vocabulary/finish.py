"""The end of an answer: the reason, the usage, and the values of a JSON answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    SUPERSEDED = "superseded"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Usage:
    """The cost of a request, in tokens and seconds.

    Attributes:
        cached, computed: Prompt tokens found in the KV cache, and computed in the prefill.
        queued: The wait for a slot.
        prefill, decode: The time until the first token, and from there to the last token.
        moves: The number of remote engines lost meanwhile, with the work resumed elsewhere.
        accepted: The number of predicted tokens in the answer.
        prediction: The number of tokens in the request's prediction.
    """

    cached: int = 0
    computed: int = 0
    generated: int = 0
    queued: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    moves: int = 0
    accepted: int = 0
    prediction: int = 0

    @property
    def prompt(self) -> int:
        return self.cached + self.computed


OnUsage = Callable[[Usage], None]
"""Receives the cost so far while an answer is generated."""

JsonScalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class OtherValue:
    """The most probable other JSON value, if one token decided; relative to the allowed tokens."""

    value: JsonScalar
    probability: float


@dataclass(frozen=True, slots=True)
class JsonField:
    """A value of a JSON answer, with the JSON pointer ``path``.

    Attributes:
        probability: The probability of the value's tokens relative to the allowed tokens (1 if
            forced).
        mass: The model's probability that each of these tokens is allowed.
        decided: The number of tokens that were not forced.
    """

    path: str
    value: JsonScalar
    probability: float
    mass: float
    decided: int
    other: OtherValue | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The last item of every stream.

    Attributes:
        stop: The stop string that ended the answer, if any.
        complete: False if the answer ended before the grammar did; `None` without a grammar.
        first_difference: The start of the text missing in the KV cache, unless only a few prompt
            tokens were computed.
        loose_functions: Functions with any JSON object as arguments, because no grammar can express
            the schema.
        fields: The values of a JSON answer, if the query has ``with_fields``.
    """

    reason: FinishReason
    usage: Usage
    stop: str | None = None
    error: str | None = None
    complete: bool | None = None
    first_difference: str | None = None
    loose_functions: tuple[str, ...] = ()
    fields: tuple[JsonField, ...] | None = None


@dataclass(frozen=True, slots=True)
class Embedding:
    """The mean of the last hidden states of a text's tokens, scaled to length 1."""

    values: Sequence[float]
    finish: Finish
