"""Conversion of tokens to and from the JSON records of the API and ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.vocabulary.token import Alternative, CallDelta, CallPart, GrammarScore, Token

LOGPROB_FLOOR = -9999.0
"""Replaces minus infinity and all lower logprobs, as in OpenAI's API."""


def clamped(logprob: float) -> float:
    """Return the logprob as a number that JSON can represent."""
    return max(logprob, LOGPROB_FLOOR)


def record_of(token: Token) -> dict[str, Any]:
    """Return a ``TokenRecord``, without pydantic because a reply may have 170,000 alternatives."""
    record = {
        "id": token.id,
        "token": token.text,
        "bytes": list(token.bytes),
        "position": token.position,
        "logprob": None if token.logprob is None else clamped(token.logprob),
        "rank": token.rank,
        "entropy": token.entropy,
        **({} if token.entropy_range is None else {"entropy_range": list(token.entropy_range)}),
        "top": [
            {"id": one.id, "token": one.text, "bytes": list(one.bytes), "logprob": clamped(one.logprob)}
            for one in token.top
        ],
        "rest": token.rest,
        "sampled": token.sampled,
        "allowed": token.allowed,
        **({} if token.grammar is None else {"grammar": grammar_record(token)}),
        **({} if token.experts is None else {"experts": token.experts}),
        **({} if token.reasoning is None else {"reasoning": token.reasoning}),
    }
    if token.part is not None:
        record["part"] = {"call": token.part.call, "deltas": [_delta_record(delta) for delta in token.part.deltas]}
    return record


def grammar_record(token: Token) -> dict[str, Any] | None:
    score = token.grammar
    if score is None:
        return None
    return {"mass": score.mass, "allowed": score.allowed, "forced": score.forced, "logprob": clamped(score.logprob)}


def token_of(record: Mapping[str, Any]) -> Token:
    score, bounds, experts = (record.get(name) for name in ("grammar", "entropy_range", "experts"))
    return Token(
        id=record["id"],
        text=record["token"],
        bytes=bytes(record["bytes"]),
        position=record["position"],
        logprob=record["logprob"],
        rank=record["rank"],
        entropy=record["entropy"],
        top=tuple(Alternative(one["id"], one["token"], bytes(one["bytes"]), one["logprob"]) for one in record["top"]),
        rest=record["rest"],
        sampled=record["sampled"],
        allowed=record.get("allowed", 1.0),  # Absent in older servers.
        part=_part_of(record["part"]) if "part" in record else None,
        grammar=None if score is None else GrammarScore(score["mass"], score["allowed"], score["logprob"]),
        entropy_range=None if bounds is None else (bounds[0], bounds[1]),
        experts=None if experts is None else tuple(tuple(map(tuple, layer)) for layer in experts),
        reasoning=record.get("reasoning"),
    )


def _delta_record(delta: CallDelta) -> dict[str, Any]:
    begun = {} if delta.id is None else {"id": delta.id, "name": delta.name}
    return {"index": delta.index, "arguments": delta.arguments, **begun}


def _part_of(record: Mapping[str, Any]) -> CallPart:
    return CallPart(record["call"], tuple(CallDelta(**delta) for delta in record["deltas"]))
