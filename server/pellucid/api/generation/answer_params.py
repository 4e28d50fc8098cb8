"""Sampling parameters of /v1/responses and /v1/messages."""

from __future__ import annotations

from pellucid.api.generation.request_fields import choice_seed
from pellucid.api.schema.answer_fields import AnswerFields
from pellucid.vocabulary.query import SamplingParams


def answer_params(body: AnswerFields, max_tokens: int, top_logprobs: int | None) -> SamplingParams:
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=body.temperature,
        top_k=1 if body.top_p == 0 else max(body.top_k, 0),
        top_p=body.top_p or 1.0,
        seed=choice_seed(body.seed, 0),
        top_logprobs=top_logprobs or 0,
    )
