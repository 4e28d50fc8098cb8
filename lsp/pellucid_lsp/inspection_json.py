"""JSON results of the custom requests, and the Markdown of a hover."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from math import exp
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.workspace import PositionCodec

from pellucid.client.token_json import record_of
from pellucid.system.entropy_text import entropy_in_bits
from pellucid.vocabulary.token import Token

if TYPE_CHECKING:
    from pellucid.completion.explanation import Explanation
    from pellucid.completion.suggestion import Suggestion

Json = dict[str, Any]

OWN_SOURCE = "pellucid"
"""The source of the server's own diagnostics."""

HOVER_ROWS = 40
"""Maximum number of tokens in a hover; the editors' own views show all tokens."""

VISIBLE = str.maketrans({" ": "·", "\n": "↵", "\r": "␍", "\t": "⇥", "`": "\u02cb", "|": "¦"})
"""Makes white space in a token's text visible and Markdown harmless."""


def ranges_of(tokens: Sequence[Token], start: types.Position, codec: PositionCodec) -> Iterator[types.Range]:
    """Yield the range of each token in the client's units, from ``start``."""
    line, character = start.line, start.character
    for token in tokens:
        begin = types.Position(line, character)
        breaks = token.text.count("\n")
        if breaks:
            line, character = line + breaks, 0
        character += codec.client_num_units(token.text.rpartition("\n")[2])
        yield types.Range(begin, types.Position(line, character))


def tokens_report(tokens: Sequence[Token], start: types.Position | None, codec: PositionCodec) -> list[Json]:
    """Return tokens with ranges, or without ranges if the text has no ``start`` in the document."""
    ranges = [None] * len(tokens) if start is None else [range_json(one) for one in ranges_of(tokens, start, codec)]
    return [record_of(token) | {"range": range} for token, range in zip(tokens, ranges, strict=True)]


def suggestion_report(
    suggestion: Suggestion, accepted: bool, start: types.Position | None, codec: PositionCodec
) -> Json:
    return {
        "id": suggestion.id,
        "text": suggestion.text,
        "accepted": accepted,
        "model": suggestion.model,
        "tokens": tokens_report(suggestion.tokens, start, codec),
    }


def explanation_report(explanation: Explanation, prompt_text: str | None) -> Json:
    prompt, usage, verdict = explanation.prompt, explanation.usage, explanation.verdict
    return {
        "id": explanation.id,
        "uri": explanation.uri,
        "position": _position(types.Position(*explanation.position)),
        "outcome": explanation.outcome,
        "reason": explanation.reason,
        "source": explanation.source,
        "shape": explanation.shape,
        "ending": explanation.ending,
        "answer": explanation.answer,
        "shown": explanation.shown,
        "doubtful": explanation.doubtful,
        "model": explanation.model,
        "prompt": None if prompt is None else asdict(prompt) | {"text": prompt_text},
        "usage": None
        if usage is None
        else {"cached": usage.cached, "computed": usage.computed, "generated": usage.generated},
        "milliseconds": {stage: round(value, 2) for stage, value in explanation.milliseconds.items()},
        "gate": None
        if verdict is None
        else {
            "by": verdict.by,
            "level": explanation.level,
            "values": dict(verdict.values),
            "thresholds": dict(verdict.thresholds),
        },
    }


def hover_markdown(suggestion: Suggestion, at: int) -> str:
    """Return tables of the suggestion's tokens and of alternatives to the token at index ``at``."""
    token = suggestion.tokens[at]
    lines = [
        f"**Pellucid** `{_shown(token.text)}` {_percent(token.constrained_logprob)}",
        "",
        "| alternative | |",
        "|---|---|",
    ]
    shown = [(one.text, token.constrain(one.logprob)) for one in token.top if one.id != token.id]
    lines += [f"| `{_shown(text)}` | {_percent(logprob)} |" for text, logprob in shown]
    own = [] if token.constrained_logprob is None else [token.constrained_logprob]
    rest = 1 - sum(map(exp, [*own, *(logprob for _, logprob in shown)]))
    lines.append(f"| all others | {max(rest, 0) * 100:.0f} % |")
    lines += ["", "| token | probability | rank | entropy, bits |", "|---|---|---|---|"]
    for index, one in enumerate(suggestion.tokens[:HOVER_ROWS]):
        name = f"`{_shown(one.text)}`"
        shown_name = f"**{name}**" if index == at else name
        lines.append(
            f"| {shown_name} | {_percent(one.constrained_logprob)} | {one.rank or ''} | {entropy_in_bits(one)} |"
        )
    left = len(suggestion.tokens) - HOVER_ROWS
    return "\n".join(lines + ([f"\nand {left} more"] if left > 0 else []))


def _percent(logprob: float | None) -> str:
    if logprob is None:
        return ""
    percent = exp(logprob) * 100
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.2g} %"


def _shown(text: str) -> str:
    return text.translate(VISIBLE)


def range_json(range: types.Range) -> Mapping[str, Any]:
    return {"start": _position(range.start), "end": _position(range.end)}


def _position(position: types.Position) -> Json:
    return {"line": position.line, "character": position.character}
