"""The probability of each value in a JSON answer, and the most probable alternative value."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence

from llguidance import LLMatcher

from pellucid.text.structured.json_scanner import JsonValue, scan
from pellucid.vocabulary.finish import JsonField, OtherValue
from pellucid.vocabulary.token import Alternative, Token

MAX_FIELDS = 1000


def json_fields(tokens: Sequence[Token], matcher: LLMatcher | None, begin: int = 0) -> list[JsonField]:
    """Return at most MAX_FIELDS whole values of a JSON answer from character ``begin`` on.

    The tokens of a string are the tokens after its opening quote up to its closing quote. The
    tokens of a different value are all tokens with a part of the value; the end of a number is not
    counted, because the end is in the next token. ``matcher`` is at the beginning of the grammar
    and is used up. Alternative values come from the tokens' alternatives, and are reported if the
    grammar forces the rest of the value.
    """
    ends = list(itertools.accumulate(len(token.text) for token in tokens))
    text = "".join(token.text for token in tokens)
    replay = None if matcher is None else _Replay(matcher, tokens)
    fields = []
    for value in scan(text, begin)[:MAX_FIELDS]:
        inside = value.begin + (isinstance(value.value, str) and value.end - value.begin > 2)
        first, last = bisect.bisect_right(ends, inside), bisect.bisect_left(ends, value.end)
        while first and not tokens[first - 1].text:  # The token begins the character that the next token completes.
            first -= 1
        fields.append(_field(value, tokens, first, last, text, ends, replay))
    return fields


def _field(
    value: JsonValue,
    tokens: Sequence[Token],
    first: int,
    last: int,
    text: str,
    ends: Sequence[int],
    replay: _Replay | None,
) -> JsonField:
    own = [token.grammar for token in tokens[first : last + 1]]
    within = math.fsum(score.logprob for score in own if score is not None)
    mass = math.prod(score.mass for score in own if score is not None)
    open = [index for index, score in enumerate(own, first) if score is not None and not score.forced]
    other = None
    if len(open) == 1 and replay is not None:
        index = open[0]
        before = text[value.begin : ends[index] - len(tokens[index].text)]
        other = replay.other(index, before, text[ends[index] - len(tokens[index].text) : value.begin], value)
    return JsonField(value.path, value.value, math.exp(within), mass, len(open), other)


class _Replay:
    """A single walk through an answer's grammar that tries alternatives on the way."""

    def __init__(self, matcher: LLMatcher, tokens: Sequence[Token]) -> None:
        self._matcher = matcher
        self._tokens = tokens
        self._at = 0

    def other(self, index: int, before: str, skipped: str, value: JsonValue) -> OtherValue | None:
        """Return the most probable alternative value if the token at ``index`` decides.

        ``before`` is the value's text before the token, and ``skipped`` the token's text before the
        value.
        """
        token = self._tokens[index]
        if index < self._at or not self._matcher.consume_tokens([token.id for token in self._tokens[self._at : index]]):
            return None
        self._at = index
        for alternative in token.top:
            if alternative.id == token.id or self._matcher.validate_tokens([alternative.id]) != 1:
                continue
            other = self._whole(alternative, before, skipped)
            if other is not None and (other.value != value.value or type(other.value) is not type(value.value)):
                assert token.grammar is not None
                probability = math.exp(min(alternative.logprob, 0.0)) / max(token.grammar.mass, 1e-300)
                return OtherValue(other.value, min(probability, 1.0))
        return None

    def _whole(self, alternative: Alternative, before: str, skipped: str) -> JsonValue | None:
        """Return the value that begins with ``alternative``, if the grammar forces the rest."""
        tried = self._matcher.deep_copy()
        if not tried.consume_token(alternative.id):
            return None
        said = (alternative.bytes + tried.compute_ff_bytes()).decode(errors="replace")
        if not said.startswith(skipped):
            return None
        whole = before + said.removeprefix(skipped)
        found = scan(whole)
        if not found or found[0].path or found[0].begin:
            return None
        may_continue = (
            found[0].end == len(whole)
            and isinstance(found[0].value, (int, float))
            and not isinstance(found[0].value, bool)
        )
        return None if may_continue else found[0]


def to_json(field: JsonField) -> dict[str, object]:
    record = {name: getattr(field, name) for name in ("path", "value", "probability", "mass", "decided")}
    if field.other is not None:
        record["other"] = {"value": field.other.value, "probability": field.other.probability}
    return record
