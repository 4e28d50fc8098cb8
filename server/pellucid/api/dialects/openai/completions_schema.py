"""Wire shapes of /v1/completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from pellucid.api.dialects.openai.common import Choices, SamplingFields
from pellucid.api.dialects.openai.logprobs import LegacyLogprobs, PromptLogprob
from pellucid.api.dialects.tabby.editor_plugins import TabbyCompletionRequest
from pellucid.api.schema.answer_fields import EndDetails
from pellucid.api.schema.common import ContextFile, Reply, ReplyDetails
from pellucid.api.schema.sampling import MAX_CHOICES, MAX_TOKENS, Alternatives, Ids
from pellucid.api.schema.usage import UsageReply


class CompletionRequest(SamplingFields):
    """A text to continue or, with ``suffix``, a gap to fill."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prompt": "def add(a, b):\n    return ", "suffix": "\n", "max_tokens": 8, "logprobs": 5}]
        }
    )

    prompt: (
        str
        | Ids
        | Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=MAX_CHOICES)]
        | Annotated[list[Ids], Field(fail_fast=True, min_length=1, max_length=MAX_CHOICES)]
    )
    suffix: str | None = Field(
        None, description="the text after the gap, for an infill with the model's own infill tokens"
    )
    input_extra: Annotated[list[ContextFile], Field(fail_fast=True)] = Field(
        [],
        description="extension, with suffix: texts of other files, the most relevant text last; an error if the model "
        "has no token for files",
    )
    heal: bool | None = Field(
        None,
        description="extension, with text: token healing; the first token may begin inside the last word; by default "
        "only with suffix",
    )
    parse_special: bool | None = Field(
        None,
        description="extension, with text: true: parse special tokens in the text; false: text stays text; by "
        "default, a text that spells a whole infill with the model's own markers is read as an infill, in the model's "
        "best order, and any other text stays text",
    )
    max_tokens: int = Field(16, ge=0, le=MAX_TOKENS, description="maximum tokens of the answer")
    logprobs: Alternatives | None = Field(None, description="return each token's logprob and this many alternatives")
    prompt_logprobs: Alternatives | None = Field(
        None, description="extension: the same for the prompt's tokens; not in streams"
    )
    echo: bool = Field(False, description="start the answer with the prompt; not with suffix")
    best_of: Choices | None = Field(None, description="must be equal to n, because every generated answer is returned")


class CompletionChoice(Reply):
    """An answer, or the next part of an answer."""

    index: int
    text: str
    logprobs: LegacyLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = None
    pellucid: EndDetails | None = None


class CompletionReply(Reply):
    """Answers, or an event of a stream of answers."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageReply | None = None
    pellucid: ReplyDetails | None = None


def _which(body: object) -> str:
    segments = body.get("segments") if isinstance(body, Mapping) else getattr(body, "segments", None)
    return "CompletionRequest" if segments is None else "TabbyCompletionRequest"


CompletionBody = Annotated[
    Annotated[CompletionRequest, Tag("CompletionRequest")]
    | Annotated[TabbyCompletionRequest, Tag("TabbyCompletionRequest")],
    Discriminator(_which),
]
"""The body of /v1/completions: Tabby's with ``segments``, otherwise OpenAI's."""
