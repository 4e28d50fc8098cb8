"""Converts the fields of ollama's routes: options to sampling parameters, and the end of an answer to times and counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pellucid.api.generation.request_fields import finish_word, usage_details
from pellucid.api.model_aliases import find_by_alias
from pellucid.api.schema.common import MAX_TOKENS
from pellucid.api.schema.ollama import OllamaEnd, OllamaFields
from pellucid.errors import InvalidRequestError
from pellucid.tokens import Finish, ModelCard, SamplingParams

_NANOSECONDS = 1_000_000_000
_NEUTRAL = {"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def check_fields(body: OllamaFields) -> None:
    """Raise InvalidRequestError for fields that contradict each other."""
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequestError("top_logprobs is only allowed together with logprobs: true.", param="top_logprobs")
    if body.options.repeat_last_n > 0 and (penalty := _penalty(body)) is not None:
        raise InvalidRequestError(
            f"options.repeat_last_n: {body.options.repeat_last_n} is not supported together with {penalty}: send -1, as penalties count "
            "all tokens.",
            param="options.repeat_last_n",
        )


def ollama_params(body: OllamaFields) -> SamplingParams:
    """Return the sampling parameters of an answer."""
    options = body.options
    penalties = _NEUTRAL if options.repeat_last_n == 0 else {name: getattr(options, name) for name in _NEUTRAL}
    return SamplingParams(
        max_tokens=options.num_predict if options.num_predict > 0 else MAX_TOKENS,
        temperature=options.temperature,
        top_k=1 if options.top_p == 0 else max(options.top_k, 0),
        top_p=options.top_p or 1.0,
        min_p=options.min_p,
        repetition_penalty=penalties["repeat_penalty"],
        presence_penalty=penalties["presence_penalty"],
        frequency_penalty=penalties["frequency_penalty"],
        seed=None if options.seed < 0 else options.seed,
        top_logprobs=body.top_logprobs,
    )


def ignored_fields(body: OllamaFields, card: ModelCard) -> list[str]:
    """Return the names of the given fields that have no effect on the answer of this model."""
    ignored = body.ignored()
    if body.options.repeat_last_n > 0:
        ignored.append("options.repeat_last_n")
    return [*ignored, "model"] if body.model and find_by_alias(body.model, [card.name]) is None else ignored


def end_fields(finish: Finish, ignored: list[str], seconds: float) -> dict[str, Any]:
    """Return the fields of the reply or line that ends an answer, which took this many seconds."""
    usage = finish.usage
    details = usage_details(usage, finish.first_difference)
    return {
        "done": True,
        "done_reason": finish_word(finish),
        "total_duration": _nanoseconds(seconds),
        "load_duration": 0,
        "prompt_eval_count": usage.prompt,
        "prompt_eval_duration": _nanoseconds(usage.prefill),
        "eval_count": usage.generated,
        "eval_duration": _nanoseconds(usage.decode),
        "pellucid": OllamaEnd(reason=finish.reason, stop=finish.stop, ignored=ignored, usage=details),
    }


def load_fields(ignored: list[str]) -> dict[str, Any]:
    """Return the fields of a reply which only says that a model is loaded."""
    return {"done": True, "done_reason": "load", "pellucid": OllamaEnd(reason=None, stop=None, ignored=ignored)}


def timestamp(moment: datetime | None = None) -> str:
    """Return a moment, by default now, as ollama writes it."""
    return (moment or datetime.now(UTC)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _penalty(body: OllamaFields) -> str | None:
    """Return the name of an option that penalizes tokens, if one does."""
    return next((name for name, neutral in _NEUTRAL.items() if getattr(body.options, name) != neutral), None)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)
