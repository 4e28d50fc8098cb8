"""Wire shapes of sampling parameters, and their limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from pellucid.vocabulary.token import MAX_ALTERNATIVES

MAX_CHOICES = 128
"""Maximum number of answers per request."""

MIN_TEMPERATURE = 0.0001
MAX_TEMPERATURE = 100.0
MIN_PENALTY = 0.01
"""Limits of SamplingParams."""

MAX_TOKENS = 2**31 - 1
"""More tokens than any context holds; means "until the context is full"."""


def _temperature(value: float) -> float:
    if value != 0 and not MIN_TEMPERATURE <= value <= MAX_TEMPERATURE:
        raise ValueError(f"must be 0 (greedy), or between {MIN_TEMPERATURE} and {MAX_TEMPERATURE:g}")
    return value


Temperature = Annotated[
    float,
    AfterValidator(_temperature),
    WithJsonSchema(
        {"anyOf": [{"const": 0}, {"type": "number", "minimum": MIN_TEMPERATURE, "maximum": MAX_TEMPERATURE}]}
    ),
]
TokenId = Annotated[int, Field(ge=0, lt=2**31, description="a token id of the model's vocabulary")]

Ids = Annotated[list[TokenId], Field(fail_fast=True, min_length=1)]

Bias = Annotated[float, Field(ge=-100, le=100)]
TokenKey = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


def _first_mistake(value: object) -> object:
    """Raise ValueError at the first wrong entry of a large object.

    Pydantic would report each wrong entry, which takes memory and time.
    """
    if isinstance(value, dict) and len(value) > 1000:
        for key, bias in value.items():
            if not (
                key.isdecimal()
                and key.isascii()
                and len(key) <= 9
                and type(bias) in (int, float)
                and -100 <= bias <= 100
            ):
                raise ValueError(f"{key[:80]!r} must be a token id with a bias from -100 to 100")
    return value


Biases = Annotated[dict[TokenKey, Bias], BeforeValidator(_first_mistake)]
StopText = Annotated[str, Field(min_length=1)]
StopTexts = StopText | Annotated[list[StopText], Field(fail_fast=True, max_length=64)]
Alternatives = Annotated[int, Field(ge=0, le=MAX_ALTERNATIVES)]
