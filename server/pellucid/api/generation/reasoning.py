"""Reasoning before an answer, as requested in several dialects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import JsonValue

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.query import Effort, Reasoning
from pellucid.vocabulary.token import Token

EffortWord = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

SWITCHES = ("enable_thinking", "thinking")
"""Variables of chat templates for turning reasoning on or off."""

_EFFORTS: Mapping[str, Effort] = {"minimal": "low", "low": "low", "medium": "medium"}


def reasoning_of(effort: str | None, most: int | None, is_on: bool | None = None) -> Reasoning | None:
    """Return the reasoning, if requested and not turned off.

    ``most`` limits the tokens, unless negative.
    """
    if effort == "none" or is_on is False or most == 0 or (effort is None and is_on is None and most is None):
        return None
    return Reasoning(_EFFORTS.get(effort or "medium", "high"), most if most is not None and most >= 0 else None)


def reasoning_switch(variables: Mapping[str, JsonValue]) -> bool | None:
    """Return the value of the first variable of SWITCHES, if any."""
    for name in SWITCHES:
        value = variables.get(name)
        if value is not None and not isinstance(value, bool):
            param = f"chat_template_kwargs.{name}"
            raise InvalidRequestError(f"{param} must be true or false, not {value!r}.", param=param)
        if isinstance(value, bool):
            return value
    return None


def reasoning_text(tokens: Sequence[Token]) -> str:
    return "".join(token.reasoning for token in tokens if token.reasoning)


def reasoning_count(tokens: Sequence[Token]) -> int:
    """Return the number of tokens of the reasoning, with marks."""
    return sum(token.reasoning is not None for token in tokens)
