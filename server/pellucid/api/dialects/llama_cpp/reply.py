"""Parts of llama.cpp's replies: timings, stop types and probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pellucid.api.dialects.llama_cpp.generation_schema import Generation, LlamaProb, LlamaTokenProb, Timings
from pellucid.client.token_json import clamped, grammar_record
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import SamplingParams
from pellucid.vocabulary.token import Alternative, Token

StopType = Literal["none", "eos", "limit", "word"]

_STOP_TYPES: dict[FinishReason, StopType] = {
    FinishReason.STOP: "eos",
    FinishReason.LENGTH: "limit",
    FinishReason.DEADLINE: "limit",
}
_WHOLE = 1.0 - 1e-6
"""A sum of probabilities that is 1 except for rounding."""


def stop_type(finish: Finish) -> StopType:
    return "word" if finish.stop is not None else _STOP_TYPES.get(finish.reason, "none")


def timings(usage: Usage) -> Timings:
    prompt_ms, predicted_ms = usage.prefill * 1000, usage.decode * 1000
    return Timings(
        cache_n=usage.cached,
        prompt_n=usage.computed,
        prompt_ms=prompt_ms,
        prompt_per_token_ms=_ratio(prompt_ms, usage.computed),
        prompt_per_second=_ratio(usage.computed, usage.prefill),
        predicted_n=usage.generated,
        predicted_ms=predicted_ms,
        predicted_per_token_ms=_ratio(predicted_ms, usage.generated),
        predicted_per_second=_ratio(usage.generated, usage.decode),
    )


def token_probs(token: Token, body: Generation, params: SamplingParams) -> LlamaTokenProb:
    """Return a token and its alternatives, before or after the sampler's transforms."""
    common: dict[str, Any] = {
        "id": token.id,
        "token": _text(token.bytes),
        "bytes": list(token.bytes),
        "grammar": grammar_record(token),
    }
    if not body.post_sampling_probs:
        assert token.logprob is not None
        tops = [_prob(one, logprob=clamped(one.logprob)) for one in token.top[: body.n_probs]]
        return LlamaTokenProb(**common, logprob=clamped(token.logprob), top_logprobs=tops)
    return LlamaTokenProb(**common, prob=token.sampled, top_probs=survivors(token, params)[: body.n_probs])


def survivors(token: Token, params: SamplingParams) -> list[LlamaProb]:
    """Return the alternatives left by the sampler, with their probabilities.

    The ratio of two probabilities is the ratio of the model's own probabilities to the power of
    1/temperature. The probability of the sampled token is known (else the list is empty), and all
    probabilities sum to 1, which ends the list.
    """
    assert token.logprob is not None
    if token.sampled is None:
        return []
    if params.temperature == 0:
        return [_prob(Alternative(token.id, _text(token.bytes), token.bytes, token.logprob), prob=token.sampled)]
    probs: list[LlamaProb] = []
    total = 0.0
    for one in token.top:
        if total >= _WHOLE:
            break
        prob = token.sampled * math.exp((one.logprob - token.logprob) / params.temperature)
        probs.append(_prob(one, prob=min(prob, 1.0)))
        total += prob
    return probs


def pick_fields(reply: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the named fields, without unknown names.

    ``a/b`` is field b of object a, under the literal name ``a/b``.
    """
    picked = {}
    for name in names:
        value: Any = reply
        for step in name.split("/"):
            if not isinstance(value, Mapping) or step not in value:
                break
            value = value[step]
        else:
            picked[name] = value
    return picked


def _prob(one: Alternative, **value: float) -> LlamaProb:
    return LlamaProb(id=one.id, token=one.text, bytes=list(one.bytes), **value)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _ratio(amount: float, count: float) -> float:
    return amount / count if count else 0.0
