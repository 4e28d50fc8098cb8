"""Wire shapes of /v1/score."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from pellucid.api.schema.answer_fields import EndDetails
from pellucid.api.schema.common import Admittance, ContextFile, Reply
from pellucid.api.schema.messages import Messages
from pellucid.api.schema.sampling import Alternatives, Ids
from pellucid.api.schema.tokens import WrittenToken
from pellucid.api.schema.usage import UsageReply


class ScoreRequest(Admittance):
    """A text, token ids or a conversation, or a text that continues a conversation."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "def add(a, b):\n    return a + b\n", "top_logprobs": 5}]}
    )

    text: str | None = None
    tokens: Ids | None = None
    messages: Messages | None = None
    parse_special: bool = Field(False, description="with text: parse special tokens in the text")
    continue_final_message: bool = Field(
        False,
        description="with messages: end within the last message, required to be from the assistant. A text is then "
        "read as the continuation of the last message, and only the text's own tokens are returned",
    )
    top_logprobs: Alternatives = Field(0, description="return this many alternatives for each token")
    windows: bool = Field(
        False,
        description="read a text longer than the context (up to 4,194,304 characters) in overlapping windows: each "
        "token is scored once, after at least half a context of text; without this field a longer text is refused. "
        "The usage counts the tokens of all windows",
    )
    input_prefix: str | None = Field(
        None,
        description="read the text between input_prefix and input_suffix, as an infill, or with parse_special as the "
        "continuation of input_prefix, with special tokens parsed in both; only the text's own tokens are "
        "returned",
    )
    input_suffix: str | None = Field(None, description="see input_prefix; either may be empty")
    input_extra: Annotated[list[ContextFile], Field(fail_fast=True)] = Field(
        default=[], description="with input_prefix: pieces of other files, as context of the text"
    )
    experts: bool = Field(
        False, description="report the experts of each token; only for a model with experts in its meta"
    )
    stream: bool = False


class ScoreSummary(Reply):
    """The probability of the whole text, without the first token, which has no logprob."""

    logprob_sum: float
    perplexity: float | None = Field(description="exp(-logprob_sum / tokens); null if no token was scored")
    bits_per_byte: float | None


class ScoreReply(Reply):
    """Each token of the text, in order."""

    object: Literal["score"] = "score"
    model: str
    tokens: list[WrittenToken]
    usage: UsageReply
    summary: ScoreSummary
    pellucid: EndDetails


class ScoreChunk(Reply):
    """An event of a streamed score: tokens, or at the end usage and summary."""

    object: Literal["score.chunk"] = "score.chunk"
    model: str
    tokens: list[WrittenToken]
    usage: UsageReply | None = None
    summary: ScoreSummary | None = None
    pellucid: EndDetails | None = None
