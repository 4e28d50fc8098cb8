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


def reasoning_of(
    effort: str | None, most: int | None = None, variables: Mapping[str, JsonValue] | None = None
) -> Reasoning | None:
    """Return the reasoning, if requested and not turned off.

    ``most`` limits the tokens, unless negative. ``variables`` are for the chat template. Raises
    InvalidRequestError for contradictory fields.
    """
    wishes = {f"chat_template_kwargs.{name}": _switch(name, value) for name, value in (variables or {}).items()}
    wishes |= {"reasoning_effort": None if effort is None else effort != "none"}
    wishes |= {"thinking_budget_tokens": None if most is None else most != 0}
    on, off = ([name for name, wish in wishes.items() if wish is value] for value in (True, False))
    if on and off:
        raise InvalidRequestError(f"{on[0]} and {off[0]} contradict each other: send only one of them.", param=on[0])
    if not on:
        return None
    return Reasoning(_EFFORTS.get(effort or "medium", "high"), most if most is not None and most >= 0 else None)


def _switch(name: str, value: JsonValue) -> bool | None:
    if name not in SWITCHES or value is None:
        return None
    if not isinstance(value, bool):
        param = f"chat_template_kwargs.{name}"
        raise InvalidRequestError(f"{param} must be true or false, not {repr(value)[:80]}.", param=param)
    return value


def reasoning_text(tokens: Sequence[Token]) -> str:
    return "".join(token.reasoning for token in tokens if token.reasoning)


def reasoning_count(tokens: Sequence[Token]) -> int:
    """Return the number of tokens of the reasoning, with marks."""
    return sum(token.reasoning is not None for token in tokens)
