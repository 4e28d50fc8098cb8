"""The JSON of the private routes: queries, and answers as rows of tokens with a Finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any

from pellucid.client.token_json import record_of, token_of
from pellucid.vocabulary.finish import Finish, FinishReason, JsonField, OtherValue, Usage
from pellucid.vocabulary.token import Token

ROOT = "/pellucid/"
"""The path of the private routes, followed by a verb."""


def to_json(value: object) -> Any:
    """Return a dataclass as JSON, without the fields that have their default."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        given = ((field, getattr(value, field.name)) for field in fields(value))
        return {
            field.name: to_json(content)
            for field, content in given
            if field.default is MISSING or content is not field.default
        }
    if isinstance(value, Mapping):
        return {key: to_json(content) for key, content in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(content) for content in value]
    return value


def row_of(item: Token | Finish | Usage) -> dict[str, Any]:
    if isinstance(item, Token):
        return record_of(item)
    return {"so_far": to_json(item)} if isinstance(item, Usage) else {"finish": to_json(item)}


def item_of(row: Mapping[str, Any]) -> Token | Finish | Usage:
    if "so_far" in row:
        return Usage(**row["so_far"])
    if "finish" in row:
        return _finish_of(row["finish"])
    return token_of(row)


def _finish_of(given: Mapping[str, Any]) -> Finish:
    values = dict(given)
    values |= {"reason": FinishReason(given["reason"]), "usage": Usage(**given["usage"])}
    if "loose_functions" in given:
        values["loose_functions"] = tuple(given["loose_functions"])
    if given.get("fields") is not None:
        values["fields"] = tuple(_field_of(field) for field in given["fields"])
    return Finish(**values)


def _field_of(given: Mapping[str, Any]) -> JsonField:
    other = given.get("other")
    return JsonField(**{**given, "other": None if other is None else OtherValue(**other)})
