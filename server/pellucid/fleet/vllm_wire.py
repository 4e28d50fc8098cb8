"""Writes requests to vLLM's route for token ids, and reads its answers. All functions are pure.

The route is ``POST /inference/v1/generate`` (vLLM 0.32, ``--enable-scale-out``). Its logprobs are
those of the model itself, before temperature, bias, ``allowed_token_ids`` and penalties, but not
before its structured outputs, which are therefore never used.
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
from pellucid.tokens import SamplingParams

ROUTE = "/inference/v1/generate"

ALTERNATIVES = 20
"""Alternatives that are requested for each token, even if fewer are wanted: they bound the entropy."""

ENTROPY_ID = -1
"""In place of the best alternative, an engine with the plugin in ``deploy/vllm_entropy`` sends this
id with the negative entropy.
"""

MAX_TEMPERATURE = 2.0
"""vLLM's own limit."""

MOST_LOGPROB = 1e-3
"""The largest logprob that rounding explains: a probability is at most 1."""

MAX_TEXT = 300
"""Characters of an engine's own words that are shown."""

WRONG_FORM = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""Errors of reading an answer that has another form."""

SEED_STEP = 1_000_003
"""Separates the seeds of an answer's parts: with the same seed, a resumed answer would draw the
same numbers again.
"""


@dataclass(frozen=True, slots=True)
class WireToken:
    """A token and its place in the model's distribution; ``top`` holds the most probable ids in order.

    ``entropy`` is None if the engine does not report it.
    """

    id: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...]
    entropy: float | None = None


@dataclass(frozen=True, slots=True)
class WireEvent:
    """A part of an answer. ``stop_id`` is the stop token that ended it; it is not among ``tokens``.

    ``cached`` counts prompt tokens.
    """

    tokens: tuple[WireToken, ...] = ()
    finished: bool = False
    stop_id: int | None = None
    cached: int | None = None


class MalformedAnswerError(Exception):
    """An answer that is not in the form of the route."""


class EngineFailureError(Exception):
    """An error that an engine reports in the middle of an answer.

    ``is_refusal`` if it calls the request wrong.
    """

    def __init__(self, message: str, *, is_refusal: bool = False) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal


def check_params(params: SamplingParams) -> None:
    """Raise InvalidRequestError for parameters that vLLM does not support."""
    if params.temperature > MAX_TEMPERATURE:
        raise InvalidRequestError(
            f"temperature is {params.temperature:g}, but the engine of this model supports at most {MAX_TEMPERATURE:g}.",
            param="temperature",
        )


def generate_body(
    model: str, request: Request, answer: Sequence[int], max_tokens: int, allowed: Sequence[int] | None = None
) -> dict[str, Any]:
    """Return the body that continues a request after the part ``answer``, by at most ``max_tokens`` tokens out of ``allowed``."""
    params = request.params
    sampling: dict[str, Any] = {
        "temperature": params.temperature,
        "max_tokens": max_tokens,
        "logprobs": ALTERNATIVES + 2,  # a sampled token that is not among them takes one place, and the entropy another
        "stop_token_ids": [] if params.ignore_eos else sorted(request.stop_ids),
        "ignore_eos": True,  # the stop ids say it all
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
    """Return the body that reads the prompt of a request. vLLM generates a token with it, which costs a step."""
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
    """Return an event of a stream of a model with ``vocab`` tokens.

    Raises EngineFailureError for an error, and MalformedAnswerError.
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
    """Return the tokens of a prompt that was read, None for the first one, and how many of them came from the cache.

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
    """Return the score of a token at a position, with its entropy or the bounds of it, and the wanted number of alternatives."""
    top = token.top[:top_logprobs]
    return TokenScore(
        token.id,
        position,
        token.logprob,
        token.rank,
        token.entropy,
        top,
        rest=_rest(top),
        sampled=sampled,
        entropy_range=None if token.entropy is not None else _entropy_range(token, vocab),
    )


def sampled_probability(token: WireToken, params: SamplingParams) -> float | None:
    """Return the probability with which a token was drawn, or None where that depends on tokens that are not known.

    It is known where the draw was greedy, or from no more tokens than the alternatives have.
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
    weights = [(id, weight) for id, weight in weights if weight >= params.min_p]  # vLLM applies it first
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
    """Return the sentence of an engine's error."""
    error = data.get("error")
    return clean(str(error.get("message") if isinstance(error, Mapping) else error))


def refused(reason: str) -> InvalidRequestError:
    """Return the error of a request that the engine refuses."""
    return InvalidRequestError(f"The engine of this model refuses the request: {reason}")


def clean(text: str) -> str:
    """Return a text of an engine as people and logs may see it: short, on one line, without control characters."""
    short = " ".join(text[:MAX_TEXT].split())
    return "".join(character for character in short if character.isprintable())


def shown_name(name: str) -> str:
    """Return a name that an engine gives, with escapes and shortened if people and logs could not see it as it is."""
    return name if name.isprintable() and len(name) <= MAX_TEXT else clean(repr(name))


def _malformed(error: Exception) -> MalformedAnswerError:
    return MalformedAnswerError(clean(f"{type(error).__name__}: {error}"))


def _cached(data: Mapping[str, Any]) -> int | None:
    """Return the number of prompt tokens that came from the cache, if the engine reports it."""
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
    """Return a token with its alternatives in order; ``others`` may have the token itself and the entropy among them."""
    entropy = next((-_logprob(other) for key, other in others if key == ENTROPY_ID), None)
    before = 0 if entropy is None else 1  # the entropy has the first place, so that all ranks are larger by one
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
    """Return the rank of a token. The first ``before`` places are taken by something else."""
    rank = score["rank"]
    if type(rank) is not int or rank <= before:
        raise ValueError(f"a rank is {rank!r}")
    return rank - before


def _logprob(score: Mapping[str, Any]) -> float:
    logprob = float(score["logprob"])
    if not isfinite(logprob) or logprob > MOST_LOGPROB:
        raise ValueError(f"a logprob is {logprob}")
    return min(logprob, 0.0)


def _rest(top: Sequence[tuple[int, float]]) -> float:
    return max(1.0 - fsum(exp(logprob) for _, logprob in top), 0.0)


def _entropy_range(token: WireToken, vocab: int) -> tuple[float, float] | None:
    if not token.top:
        return None
    known = dict(token.top)
    lowest = token.top[-1][1]
    known[token.id] = token.logprob
    return entropy_range(list(known.values()), lowest, vocab)
