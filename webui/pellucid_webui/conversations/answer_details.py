"""The stored values of a JSON answer, tool calls, and the reasoning before an answer."""

from __future__ import annotations

import bisect
import itertools
import math
import sys
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pellucid.text.structured.json_fields import json_fields
from pellucid.text.structured.json_scanner import scan
from pellucid.text.tool_calls.calls_of_answer import call_details
from pellucid.vocabulary.finish import Finish, JsonField, JsonScalar
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.compact_tokens import rounded
from pellucid_webui.conversations.encodable_text import encodable

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**53)]

Places = tuple[Count, Count]
"""Half-open range of token indices that hold a part of a value."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class StoredOther(_Strict):
    value: JsonScalar
    probability: Share


class StoredField(_Strict):
    """A value of a JSON answer; see ``JsonField``."""

    path: str
    value: JsonScalar
    probability: Share
    mass: Share
    decided: Count
    other: StoredOther | None = None
    tokens: Places | None = None


class StoredArgument(_Strict):
    """Probability of a value in a call's arguments; ``path`` is a JSON pointer."""

    path: str
    probability: Share
    tokens: Places | None = None


class StoredCall(_Strict):
    """A tool call.

    ``complete``: the arguments are a JSON object. ``enforced``: a grammar held the arguments to the
    function's schema.
    """

    id: str
    name: str
    arguments: str
    complete: bool
    enforced: bool
    fields: tuple[StoredArgument, ...] = ()


class StoredDetails(_Strict):
    fields: tuple[StoredField, ...] = ()
    calls: tuple[StoredCall, ...] = ()
    reasoning: str = ""


def details_of(tokens: Sequence[Token], finish: Finish | None, *, is_json: bool) -> StoredDetails | None:
    """Return the details, or None for an answer without JSON values, calls and reasoning.

    ``finish`` is None for a stopped or failed answer.
    """
    fields = _fields(tokens, finish) if is_json else ()
    calls = _calls(tokens, () if finish is None else finish.loose_functions)
    reasoning = "".join(token.reasoning or "" for token in tokens)
    found = StoredDetails(fields=fields, calls=calls, reasoning=encodable(reasoning))
    return None if found == StoredDetails() else found


def _fields(tokens: Sequence[Token], finish: Finish | None) -> tuple[StoredField, ...]:
    # Older servers send no fields.
    found = json_fields(tokens, None) if finish is None or not finish.fields else finish.fields
    places = _value_places(tokens)
    return tuple(_field(field, places.get(field.path)) for field in found)


def _field(field: JsonField, places: Places | None) -> StoredField:
    other = (
        None
        if field.other is None
        else StoredOther(value=_storable(field.other.value), probability=_share(field.other.probability))
    )
    return StoredField(
        path=encodable(field.path),
        value=_storable(field.value),
        probability=_share(field.probability),
        mass=_share(field.mass),
        decided=field.decided,
        other=other,
        tokens=places,
    )


def _value_places(tokens: Sequence[Token]) -> dict[str, Places]:
    ends = list(itertools.accumulate(len(token.text) for token in tokens))
    values = scan("".join(token.text for token in tokens))
    return {
        value.path: (bisect.bisect_right(ends, value.begin), bisect.bisect_left(ends, value.end) + 1)
        for value in values
    }


def _calls(tokens: Sequence[Token], loose: Sequence[str]) -> tuple[StoredCall, ...]:
    return tuple(
        StoredCall(
            id=one.call.id,
            name=encodable(one.call.name),
            arguments=one.call.arguments,
            complete=one.complete,
            enforced=one.enforced,
            fields=tuple(
                _argument(path, probability, one.tokens[path]) for path, probability in one.probabilities.items()
            ),
        )
        for one in call_details(tokens, loose)
    )


def _argument(path: str, probability: float, places: Sequence[int]) -> StoredArgument:
    tokens = (min(places), max(places) + 1) if places else None
    return StoredArgument(path=encodable(path), probability=_share(probability), tokens=tokens)


def _storable(value: JsonScalar) -> JsonScalar:
    """Replace values that JSON cannot hold: lone surrogates and infinity (from 1e999)."""
    if isinstance(value, float) and math.isinf(value):
        return math.copysign(sys.float_info.max, value)
    return encodable(value) if isinstance(value, str) else value


def _share(number: float) -> float:
    return min(max(rounded(number), 0.0), 1.0)
