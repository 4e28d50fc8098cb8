"""Wire shapes of /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from pellucid.api.dialects.llama_cpp.generation_schema import ResponseFields, Samplers
from pellucid.api.dialects.openai.common import SamplingFields
from pellucid.api.dialects.openai.logprobs import PromptLogprob
from pellucid.api.generation.reasoning import EffortWord
from pellucid.api.schema.answer_fields import EndDetails
from pellucid.api.schema.common import Body, OnlyTrue, Reply, ReplyDetails, Unused
from pellucid.api.schema.messages import Messages, TextPart
from pellucid.api.schema.sampling import MAX_TOKENS, Alternatives
from pellucid.api.schema.tokens import TokenLogprob
from pellucid.api.schema.tool_calls import PARALLEL_ABOUT, ToolFields
from pellucid.api.schema.usage import UsageReply


class Prediction(Body):
    """A prediction of an answer."""

    type: Literal["content"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True, max_length=1024)] = Field(
        description="a text, or parts of a text"
    )

    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(SamplingFields, ToolFields):
    """A conversation to answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "messages": [{"role": "user", "content": "Reverse a list in Python."}],
                    "max_tokens": 64,
                    "logprobs": True,
                    "top_logprobs": 5,
                }
            ]
        }
    )

    messages: Messages
    max_tokens: int | None = Field(
        None,
        ge=0,
        le=MAX_TOKENS,
        description="maximum tokens of the answer; by default until the model ends the answer",
    )
    max_completion_tokens: int | None = Field(None, ge=0, le=MAX_TOKENS, description="newer name of max_tokens")
    logprobs: bool = Field(False, description="return each token's logprob")
    top_logprobs: Alternatives | None = Field(
        None, description="with logprobs: return this many alternatives for each token"
    )
    prompt_logprobs: Alternatives | None = Field(
        None,
        description="extension: return the same for the prompt's tokens, including the template's tokens; not in "
        "streams",
    )
    prediction: Prediction | None = Field(
        None,
        description="a text that the answer is likely to repeat, for example the code before an edit: the answer is "
        "the same, but sooner. completion_tokens_details counts the repeated tokens. Ignored without speculative "
        "decoding: by remote engines, and by a server with lookup off",
    )
    reasoning_effort: EffortWord | None = Field(
        None,
        description="reason before the answer; none is the default. Ignored by a model that cannot reason; few models "
        "distinguish efforts",
    )
    thinking_budget_tokens: int | None = Field(
        None,
        ge=-1,
        le=MAX_TOKENS,
        description="llama.cpp's name: reason before the answer, with at most this many tokens; -1: without a limit; "
        "0: do not reason",
    )
    verbosity: Annotated[str | None, Unused()] = Field(None, description="ignored: ask for a short answer in a message")
    chat_template_kwargs: Annotated[dict[str, JsonValue], Unused()] = Field(
        {},
        description="enable_thinking or thinking turn reasoning on or off; other variables are ignored, and refused if "
        "the model's template reads one of them",
    )
    add_generation_prompt: Annotated[OnlyTrue, Unused()] = Field(
        True, description="always true: the prompt ends where the answer begins"
    )
    n_predict: int | None = Field(
        None,
        ge=-1,
        le=MAX_TOKENS,
        description="llama.cpp's name of max_tokens; -1: until the model ends the answer; 0: only read the prompt",
    )
    samplers: Samplers = Field(None, description="as on /completion: the sampling steps; an unlisted step is off")
    id_slot: int = Field(
        -1, ge=-1, lt=2**31, description="as on /completion: a newer request with the same number ends this request"
    )
    response_fields: ResponseFields = Field(
        None, description="as on /completion: return only these fields, not in streams"
    )
    parallel_tool_calls: bool | None = Field(None, description=PARALLEL_ABOUT)
    continue_final_message: bool = Field(
        False, description="extension: continue the last message, required to be from the assistant"
    )


class FunctionReply(Reply):
    """The function of a call; ``arguments`` is the JSON text that the model wrote."""

    name: str
    arguments: str


class ToolCallReply(Reply):
    """A call by the model."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionReply


class FunctionDelta(Reply):
    """The next part of a call: first the name, then parts of the arguments."""

    name: str | None = None
    arguments: str


class ToolCallDelta(Reply):
    """The next part of a call. Only the first part has the id, the type and the name."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class ChatLogprobs(Reply):
    """Logprobs in the shape of chats."""

    content: list[TokenLogprob]
    refusal: None = None


class ChatAnswer(Reply):
    """The assistant's message."""

    role: Literal["assistant"] = "assistant"
    content: str | None = Field(description="null if the answer consists of tool calls")
    reasoning_content: str | None = None
    refusal: None = None
    tool_calls: list[ToolCallReply] | None = None


class ChatChoice(Reply):
    """One answer."""

    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]
    token_ids: list[int] | None = None
    pellucid: EndDetails


class ChatReply(Reply):
    """Answers to a conversation."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = None
    usage: UsageReply
    pellucid: ReplyDetails | None = None


class ChatDelta(Reply):
    """The next part of the assistant's message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChunkChoice(Reply):
    """The next part of an answer."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"] | None
    token_ids: list[int] | None = None
    pellucid: EndDetails | None = None


class ChatChunk(Reply):
    """An event of a streamed chat."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: UsageReply | None = None
    pellucid: ReplyDetails | None = None
