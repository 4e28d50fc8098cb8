"""Requests and answers of vLLM's route for token ids. All functions are pure.

The route is ``POST /inference/v1/generate`` (vLLM 0.32, ``--enable-scale-out``). Logprobs are from
before temperature, bias, ``allowed_token_ids`` and penalties, but from after vLLM's structured
outputs, so structured outputs are never used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, fsum, isfinite
from typing import Any

from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import InvalidRequestError
from pellucid.fleet.entropy_bounds import entropy_range
from pellucid.vocabulary.query import SamplingParams

ROUTE = "/inference/v1/generate"

ALTERNATIVES = 20
"""Alternatives requested per token, even if fewer are needed, to bound the entropy."""

ENTROPY_ID = -1
"""Id of the negative entropy, from engines with the plugin ``deploy/vllm_entropy``."""

MAX_TEMPERATURE = 2.0
"""vLLM's own limit."""

MOST_LOGPROB = 1e-3
"""Maximum logprob by rounding: a probability is at most 1."""

MAX_TEXT = 300
"""Maximum length of an engine's message."""

WRONG_FORM = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""Errors raised by an answer in an unexpected form."""

SEED_STEP = 1_000_003
"""Separates the seeds of an answer's parts: a resumed answer would repeat the draws."""


@dataclass(frozen=True, slots=True)
class WireToken:
    """A token and its place in the model's distribution. ``top`` are the most probable ids."""

    id: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...]
    entropy: float | None = None


@dataclass(frozen=True, slots=True)
class WireEvent:
    """A part of an answer. ``stop_id`` ended the answer; ``cached`` counts prompt tokens."""

    tokens: tuple[WireToken, ...] = ()
    finished: bool = False
    stop_id: int | None = None
    cached: int | None = None


class MalformedAnswerError(Exception):
    """An answer that does not have the form of the route."""


class EngineFailureError(Exception):
    """An error reported by an engine during an answer (``is_refusal``: an invalid request)."""

    def __init__(self, message: str, *, is_refusal: bool = False) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal


def check_params(params: SamplingParams) -> None:
    """Raise InvalidRequestError for parameters that vLLM does not support."""
    if params.temperature > MAX_TEMPERATURE:
        raise InvalidRequestError(
            f"temperature is {params.temperature:g}, "
            f"but the engine of this model supports at most {MAX_TEMPERATURE:g}.",
            param="temperature",
        )


def generate_body(
    model: str, request: Request, answer: Sequence[int], max_tokens: int, allowed: Sequence[int] | None = None
) -> dict[str, Any]:
    """Return the body that continues a request after ``answer``, within ``allowed``."""
    params = request.params
    sampling: dict[str, Any] = {
        "temperature": params.temperature,
        "max_tokens": max_tokens,
        # Two more: a sampled token outside the alternatives, and the entropy.
        "logprobs": ALTERNATIVES + 2,
        "stop_token_ids": [] if params.ignore_eos else sorted(request.stop_ids),
        "ignore_eos": True,  # The stop ids suffice.
        "detokenize": False,
    }
    if params.temperature:
        sampling |= {"top_k": params.top_k, "top_p": params.top_p, "min_p": params.min_p}
        if params.seed is not None:
            sampling["seed"] = (params.seed + SEED_STEP * len(answer)) % 2**63
    for penalty, neutral in (("repetition_penalty", 1.0), ("presence_penalty", 0.0), ("frequency_penalty", 0.0)):
        if getattr(params, penalty) != neutral:
            sampling[penalty] = getattr(params, penalty)
    if params.logit_bias:
        sampling["logit_bias"] = {str(id): bias for id, bias in params.logit_bias.items()}
    if allowed is not None:
        sampling["allowed_token_ids"] = list(allowed)
    return {
        "model": model,
        "token_ids": [*request.prompt, *answer],
        "priority": int(request.terms.priority),
        "stream": True,
        "stream_options": {"include_usage": True},
        "sampling_params": sampling,
    }


def read_body(model: str, request: Request) -> dict[str, Any]:
    """Return the body that reads a request's prompt. vLLM also generates a token."""
    return {
        "model": model,
        "token_ids": list(request.prompt),
        "priority": int(request.terms.priority),
        "sampling_params": {
            "temperature": 0,
            "max_tokens": 1,
            "prompt_logprobs": ALTERNATIVES + 1,
            "detokenize": False,
        },
    }


def read_event(data: Mapping[str, Any], vocab: int) -> WireEvent:
    """Return an event of a stream.

    Raises EngineFailureError for a reported error, and MalformedAnswerError.
    """
    if "error" in data:
        code = data["error"].get("code") if isinstance(data["error"], Mapping) else None
        raise EngineFailureError(error_of(data), is_refusal=code == 400)
    try:
        choices, cached = data["choices"], _cached(data)
        if not choices:
            return WireEvent(cached=cached)
        (choice,) = choices
        ids, scores = choice["token_ids"] or [], (choice["logprobs"] or {}).get("content") or []
        tokens = tuple(_token(score, id, vocab) for id, score in zip(ids, scores, strict=True))
        reason, stop = choice["finish_reason"], choice["stop_reason"]
        if reason not in (None, "stop", "length") or (reason == "stop" and stop is None):
            raise EngineFailureError(f"it ended an answer early ({clean(str(reason))})")
        stop_id = _id(stop, vocab) if reason == "stop" else None
        if stop_id is not None and tokens and tokens[-1].id == stop_id:
            tokens = tokens[:-1]
        return WireEvent(tokens, reason is not None, stop_id, cached)
    except WRONG_FORM as error:
        raise _malformed(error) from None


def read_prompt_scores(
    data: Mapping[str, Any], prompt: Sequence[int], vocab: int
) -> tuple[list[WireToken | None], int]:
    """Return the prompt's tokens (first: ``None``), and the number of cached tokens.

    Raises EngineFailureError and MalformedAnswerError.
    """
    if "error" in data:
        raise EngineFailureError(error_of(data))
    try:
        first, *rows = data["prompt_logprobs"]
        if first is not None:
            raise ValueError("the first token has scores")
        found = [_prompt_token(row, id, vocab) for row, id in zip(rows, prompt[1:], strict=True)]
        return [None, *found], min(_cached(data) or 0, len(prompt))
    except WRONG_FORM as error:
        raise _malformed(error) from None


def token_score(
    token: WireToken, position: int, vocab: int, top_logprobs: int, sampled: float | None = None
) -> TokenScore:
    top = token.top[:top_logprobs]
    return TokenScore(
        token.id,
        position,
        token.logprob,
        token.rank,
        token.entropy,
        top,
        rest=max(1.0 - fsum(exp(logprob) for _, logprob in top), 0.0),
        sampled=sampled,
        entropy_range=None if token.entropy is not None else _entropy_range(token, vocab),
    )


def sampled_probability(token: WireToken, params: SamplingParams) -> float | None:
    """Return the probability with which a token was drawn, if known.

    The probability is known for greedy decoding, and for ``top_k`` within the alternatives.
    """
    if params.temperature == 0:
        return 1.0
    adjusted = (
        params.logit_bias or params.repetition_penalty != 1.0 or params.presence_penalty or params.frequency_penalty
    )
    if adjusted or not 0 < params.top_k <= len(token.top):
        return None
    best = token.top[0][1]
    weights = [(id, exp((logprob - best) / params.temperature)) for id, logprob in token.top[: params.top_k]]
    # vLLM applies min_p before top_p.
    weights = [(id, weight) for id, weight in weights if weight >= params.min_p]
    total = fsum(weight for _, weight in weights)
    kept: dict[int, float] = {}
    before = 0.0
    for id, weight in weights:
        if kept and before >= params.top_p:
            break
        kept[id] = weight
        before += weight / total
    return kept[token.id] / fsum(kept.values()) if token.id in kept else None


def error_of(data: Mapping[str, Any]) -> str:
    error = data.get("error")
    return clean(str(error.get("message") if isinstance(error, Mapping) else error))


def refused(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"The engine of this model refuses the request: {reason}")


def clean(text: str) -> str:
    """Return an engine's text for users and logs: short, on one line, no control characters."""
    short = " ".join(text[:MAX_TEXT].split())
    return "".join(character for character in short if character.isprintable())


def shown_name(name: str) -> str:
    """Return an engine's name for users and logs, escaped and shortened if necessary."""
    return name if name.isprintable() and len(name) <= MAX_TEXT else clean(repr(name))


def _malformed(error: Exception) -> MalformedAnswerError:
    return MalformedAnswerError(clean(f"{type(error).__name__}: {error}"))


def _cached(data: Mapping[str, Any]) -> int | None:
    cached = ((data.get("usage") or {}).get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is not None and (type(cached) is not int or cached < 0):
        raise ValueError(f"cached_tokens is {cached!r}")
    return cached


def _token(score: Mapping[str, Any], id: object, vocab: int) -> WireToken:
    if score["token_id"] != id:
        raise ValueError(f"the scores are those of token {score['token_id']}, not of {id}")
    return _scored(_id(id, vocab), score, [(other["token_id"], other) for other in score["top_logprobs"]], vocab)


def _prompt_token(row: Mapping[str, Mapping[str, Any]], id: int, vocab: int) -> WireToken:
    return _scored(id, row[str(id)], [(int(key), other) for key, other in row.items()], vocab)


def _scored(
    id: int, own: Mapping[str, Any], others: Sequence[tuple[object, Mapping[str, Any]]], vocab: int
) -> WireToken:
    """Return a token with its alternatives, in order of rank."""
    entropy = next((-_logprob(other) for key, other in others if key == ENTROPY_ID), None)
    before = 0 if entropy is None else 1  # The entropy has rank 1.
    ranked = sorted(
        (_rank(other, before), _id(key, vocab), _logprob(other)) for key, other in others if key != ENTROPY_ID
    )
    top = tuple((key, logprob) for rank, key, logprob in ranked if rank <= ALTERNATIVES)[:ALTERNATIVES]
    if len({key for key, _ in top}) < len(top):
        raise ValueError(f"token {id} has the same alternative twice")
    return WireToken(id, _logprob(own), _rank(own, before), top, entropy)


def _id(value: object, vocab: int) -> int:
    if type(value) is not int or not 0 <= value < vocab:
        raise ValueError(f"there is no token {value!r}")
    return value


def _rank(score: Mapping[str, Any], before: int) -> int:
    rank = score["rank"]
    if type(rank) is not int or rank <= before:
        raise ValueError(f"a rank is {rank!r}")
    return rank - before


def _logprob(score: Mapping[str, Any]) -> float:
    logprob = float(score["logprob"])
    if not isfinite(logprob) or logprob > MOST_LOGPROB:
        raise ValueError(f"a logprob is {logprob}")
    return min(logprob, 0.0)


def _entropy_range(token: WireToken, vocab: int) -> tuple[float, float] | None:
    if not token.top:
        return None
    known = dict(token.top)
    lowest = token.top[-1][1]
    known[token.id] = token.logprob
    return entropy_range(list(known.values()), lowest, vocab)
