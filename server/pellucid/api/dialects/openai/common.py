"""Fields of chats and completions: sampling parameters, stream options and usage."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field, JsonValue

from pellucid.api.generation.generated_answer import GeneratedAnswer
from pellucid.api.generation.request_fields import choice_seed, usage_reply
from pellucid.api.schema.common import Admittance, Body, OnlyFalse, OnlyTrue, Unused
from pellucid.api.schema.sampling import MAX_CHOICES, MAX_TOKENS, MIN_PENALTY, Biases, StopTexts, Temperature
from pellucid.api.schema.structured import FormatFields
from pellucid.api.schema.usage import UsageReply
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.query import SamplingParams, Terms

Choices = Annotated[int, Field(ge=1, le=MAX_CHOICES)]


class StreamOptions(Body):
    """Details of a stream."""

    include_usage: bool = Field(False, description="end the stream with an event for the usage")
    continuous_usage_stats: bool = Field(False, description="extension: every event has the answer's usage so far")
    include_obfuscation: OnlyFalse = Field(False, description="always false: streams are never padded")


class UnusedFields(Body):
    """Fields that clients send, without effect on the answer.

    The fields are accepted, and listed in ``pellucid.ignored``.
    """

    user: Annotated[str | None, Unused()] = Field(
        None, description="ignored: your identifier of the end user is not stored"
    )
    safety_identifier: Annotated[str | None, Unused()] = Field(None, description="ignored, as user")
    metadata: Annotated[JsonValue, Unused()] = Field(None, description="ignored: nothing is stored")
    store: Annotated[OnlyFalse, Unused()] = Field(False, description="always false: nothing is stored")
    service_tier: Annotated[str | None, Unused()] = Field(None, description="ignored: all requests have the same tier")
    prompt_cache_key: Annotated[str | None, Unused()] = Field(
        None, description="ignored: the longest known prefix is always used"
    )
    prompt_cache_retention: Annotated[str | None, Unused()] = Field(None, description="ignored, as prompt_cache_key")
    cache_prompt: Annotated[OnlyTrue, Unused()] = Field(True, description="always true: the cache is always used")
    keep_alive: Annotated[JsonValue, Unused()] = Field(None, description="ignored: models stay loaded")
    skip_special_tokens: Annotated[OnlyTrue, Unused()] = Field(
        True, description="always true: special tokens have no text"
    )


class SamplingFields(Admittance, FormatFields, UnusedFields):
    """Sampling parameters, and rules that end the answer. Extensions to OpenAI are marked."""

    temperature: Temperature = Field(
        1.0, description="0 always picks the most probable token; values above OpenAI's limit of 2 are allowed"
    )
    top_p: float = Field(1.0, ge=0, le=1)
    top_k: int = Field(0, ge=-1, le=MAX_TOKENS, description="extension: 0 or -1: off")
    min_p: float = Field(0.0, ge=0, le=1, description="extension: 0: off")
    repetition_penalty: float = Field(
        1.0, ge=MIN_PENALTY, le=10, description="extension: penalizes tokens of the prompt and the answer; 1: off"
    )
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="penalizes tokens already in the answer")
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="penalizes tokens already in the answer")
    logit_bias: Biases = Field({}, description="map from token ids to numbers added to the logits")
    seed: int | None = Field(
        None,
        ge=-(2**63),
        lt=2**63,
        description="the same seed gives the same answer, whatever other requests are running",
    )
    ignore_eos: bool = Field(False, description="extension: continue when the model would end the answer")
    stop: StopTexts = Field([], description="the answer ends before the first of these texts")
    n: Choices = Field(1, description="number of answers")
    stream: bool = Field(False, description="send the tokens as server-sent events as soon as they are generated")
    stream_options: StreamOptions | None = None
    return_token_ids: bool = Field(False, description="extension: return the token ids of the prompt and the answer")

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def wants_usage_on_the_way(self) -> bool:
        return self.stream_options is not None and self.stream_options.continuous_usage_stats

    def check_stream_options(self) -> None:
        if self.stream_options is not None and not self.stream:
            sentence = "stream_options is only allowed together with stream: true."
            raise InvalidRequestError(sentence, param="stream_options")

    def sampling_params(self, max_tokens: int, top_logprobs: int, choice: int) -> SamplingParams:
        """Return the parameters of one of ``n`` answers, each with a separate seed."""
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_k=1 if self.top_p == 0 else max(self.top_k, 0),
            top_p=self.top_p or 1.0,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias={int(id): bias for id, bias in self.logit_bias.items()},
            seed=choice_seed(self.seed, choice),
            ignore_eos=self.ignore_eos,
            top_logprobs=top_logprobs,
        )


def usage_so_far(answer: GeneratedAnswer) -> UsageReply | None:
    return None if answer.usage is None else usage_reply([answer.usage], [answer.usage])


def remaining(terms: Terms, elapsed: float) -> Terms:
    """Return the terms with the rest of the deadline.

    The deadline is the whole request's, including the time for reading the prompt.
    """
    return terms if terms.deadline is None else replace(terms, deadline=terms.deadline - elapsed)
