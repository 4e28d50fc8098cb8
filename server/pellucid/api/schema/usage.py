"""Wire shapes of the usage of a request, and of a user (/v1/usage)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pellucid.api.schema.common import Reply


class CompletionTokensDetails(Reply):
    """The tokens of the request's prediction, accepted or rejected, and of the reasoning."""

    accepted_prediction_tokens: int | None = Field(None, description="tokens of the prediction in the answer")
    rejected_prediction_tokens: int | None = Field(None, description="the other tokens of the prediction")
    reasoning_tokens: int | None = Field(None, description="tokens of the reasoning before the answer")


class PromptTokensDetails(Reply):
    """The number of prompt tokens from the cache."""

    cached_tokens: int = Field(description="prompt tokens read from the cache")


class UsageDetails(Reply):
    """Tokens and times: an extension to OpenAI's usage."""

    cached: int
    computed: int
    generated: int
    queued: float = Field(description="seconds until a slot was free")
    prefill: float = Field(description="seconds from then to the first token")
    decode: float = Field(description="seconds from the first token to the last")
    moves: int | None = Field(
        None,
        description="number of remote engines lost meanwhile, with the work resumed by different engines; missing if "
        "no engine was lost",
    )
    accepted: int | None = Field(
        None, description="tokens of the prediction repeated by the answer; missing without a prediction"
    )
    prediction: int | None = Field(None, description="tokens of the prediction; missing without a prediction")
    first_difference: str | None = Field(
        description="the beginning of the text missing from the cache, at most 80 characters, to show where a prompt "
        "changed (of a model with recurrent layers, the text after the last kept state); null if at most 64 tokens "
        "were computed, and for a scored text"
    )


class UsageReply(Reply):
    """The tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails | None = Field(
        None, description="only for a request with a prediction"
    )
    pellucid: UsageDetails


class UserUsage(Reply):
    """A user's usage since the server's start."""

    object: Literal["usage"] = "usage"
    user: str = Field(description="the owner of the key; local on a server without keys, or with a shared key")
    since: int = Field(description="the server's start, in seconds since 1970")
    requests: int = Field(description="requests to a model")
    refused: int = Field(description="requests refused because of a limit of the user")
    prompt_tokens: int = Field(description="prompt tokens, including tokens from the cache")
    cached_tokens: int = Field(description="prompt tokens from the cache")
    generated_tokens: int
