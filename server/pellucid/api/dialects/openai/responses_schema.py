"""Wire shapes of /v1/responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, JsonValue, Tag

from pellucid.api.dialects.openai.common import UnusedFields
from pellucid.api.generation.reasoning import EffortWord
from pellucid.api.schema.answer_fields import ONLY_NULL, AnswerDetails, AnswerFields, OtherTool, refuse, tag_by_type
from pellucid.api.schema.common import Body, OnlyFalse, Reply, Unused
from pellucid.api.schema.messages import MAX_MESSAGES, Detail, PictureUrl
from pellucid.api.schema.sampling import MAX_TOKENS, Alternatives
from pellucid.api.schema.structured import NamedSchema
from pellucid.api.schema.tokens import TokenLogprob, WrittenToken
from pellucid.api.schema.tool_calls import MAX_TOOLS, PARALLEL_ABOUT, FunctionDefinition, Name
from pellucid.api.schema.usage import UsageDetails

SENT_BACK = "allowed, so that an item of an answer can be sent back"

Include = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]
LOGPROBS: Include = "message.output_text.logprobs"


class InputPart(Body):
    """A text of a message."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: list[JsonValue] = Field([], description=SENT_BACK)
    logprobs: list[JsonValue] = Field([], description=SENT_BACK)


class InputImage(Body):
    """A picture of a message, for a model with images in its meta."""

    type: Literal["input_image"]
    file_id: Annotated[None, refuse("nothing is stored here: send the picture in image_url"), ONLY_NULL] = None
    image_url: PictureUrl
    detail: Detail = None


InputParts = Annotated[
    list[
        Annotated[
            Annotated[InputPart, Tag("text part")] | Annotated[InputImage, Tag("input_image")],
            Discriminator(tag_by_type(("input_image",), "text part")),
        ]
    ],
    Field(fail_fast=True),
]


class FunctionCall(Body):
    """A call by the assistant; arguments are the text of a JSON object."""

    type: Literal["function_call"]
    call_id: str
    name: Name
    arguments: str
    id: str | None = Field(None, description=SENT_BACK)
    status: str | None = Field(None, description=SENT_BACK)
    pellucid: JsonValue = Field(None, description=SENT_BACK)


class FunctionCallOutput(Body):
    """The result of a call."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | InputParts
    id: str | None = Field(None, description=SENT_BACK)
    status: str | None = Field(None, description=SENT_BACK)


class InputMessage(Body):
    """A message of the conversation."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | InputParts
    id: str | None = Field(None, description=SENT_BACK)
    status: str | None = Field(None, description=SENT_BACK)
    phase: str | None = Field(None, description=SENT_BACK)


class ReasoningFields(Body):
    """The reasoning before the answer. All of its text is shown, so ``summary`` has no effect."""

    effort: EffortWord | None = Field(None, description="none is the default")
    summary: Annotated[str | None, Unused()] = None
    generate_summary: Annotated[str | None, Unused()] = None


class ReasoningItem(Body):
    """Reasoning of an earlier answer: skipped, and listed as ignored."""

    type: Literal["reasoning"]
    id: str | None = None
    status: str | None = None
    summary: JsonValue = None
    content: JsonValue = None
    encrypted_content: JsonValue = None
    pellucid: JsonValue = Field(None, description=SENT_BACK)


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")],
    Discriminator(tag_by_type(("reasoning", "function_call", "function_call_output"), "message")),
]


class FunctionTool(FunctionDefinition):
    """A function that the model may call."""

    type: Literal["function"]


ResponseTool = Annotated[
    Annotated[FunctionTool, Tag("function")] | Annotated[OtherTool, Tag("other tool")],
    Discriminator(tag_by_type(("function",), "other tool")),
]


class NamedFunction(Body):
    """The choice of a function."""

    type: Literal["function"]
    name: Name


NotStored = Annotated[
    None, refuse("nothing is stored here: omit it, and send the whole conversation in input"), ONLY_NULL
]


class PlainFormat(Body):
    """Any text or, with the type json_object, any JSON object."""

    type: Literal["text", "json_object"]


class TextSchema(NamedSchema):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema", description="a JSON schema")


TextFormat = Annotated[
    Annotated[PlainFormat, Tag("plain format")] | Annotated[TextSchema, Tag("json_schema")],
    Discriminator(tag_by_type(("json_schema",), "plain format")),
]


class TextOptions(Body):
    """The form of the answer."""

    format: TextFormat | None = Field(None, description="the required form of the answer; by default any text")
    verbosity: Annotated[str | None, Unused()] = Field(None, description="ignored: ask for a short answer in a message")


class ResponseStreamOptions(Body):
    """Details of a stream."""

    include_obfuscation: OnlyFalse = Field(False, description="always false: streams are never padded")


class ResponsesRequest(AnswerFields, UnusedFields):
    """A conversation to answer. Nothing is stored, so ``input`` holds the whole conversation."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"input": "Reverse a list in Python.", "max_output_tokens": 64, "include": [LOGPROBS]}]
        }
    )

    input: str | Annotated[list[InputItem], Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES)] = Field(
        description="the whole conversation: the user's text, or messages and other items"
    )
    instructions: str | None = Field(None, description="a system message in front of the conversation")
    max_output_tokens: int | None = Field(
        None,
        ge=1,
        le=MAX_TOKENS,
        description="maximum tokens of the answer; by default until the model ends the answer",
    )
    include: Annotated[list[Include], Field(fail_fast=True, max_length=64)] = Field(
        [], description=f"{LOGPROBS}: return each token's logprob; the other values are ignored"
    )
    top_logprobs: Alternatives | None = Field(
        None, description="with logprobs: return this many alternatives for each token"
    )
    text: TextOptions | None = None
    tools: Annotated[list[ResponseTool], Field(fail_fast=True, max_length=MAX_TOOLS)] = Field(
        [],
        description="functions for the model to call; an error if the model's chat template has no place for tools. "
        "Tools of other types are skipped, and listed as ignored",
    )
    tool_choice: Literal["none", "auto", "required"] | NamedFunction = Field(
        "auto",
        description="none: the model does not see the tools; auto: the model decides; required: the answer contains "
        "only calls; a function: the answer is a call of the function",
    )
    parallel_tool_calls: bool | None = Field(None, description=PARALLEL_ABOUT)
    truncation: Literal["disabled"] = Field(
        "disabled",
        description="always disabled: a conversation longer than the context is an error, and no part is dropped",
    )
    background: OnlyFalse = Field(
        False, description="always false: nothing is stored, so an answer cannot be fetched later"
    )
    previous_response_id: NotStored = Field(None, description="always null: nothing is stored")
    conversation: NotStored = Field(None, description="always null: nothing is stored")
    stream_options: ResponseStreamOptions | None = None
    reasoning: ReasoningFields | None = Field(
        None, description="ignored by a model that cannot reason before the answer"
    )
    max_tool_calls: Annotated[int | None, Unused()] = Field(
        None, description="ignored: the limit is for tools that a server runs, and this server runs no tools"
    )
    prompt_cache_options: Annotated[JsonValue, Unused()] = Field(
        None, description="ignored: the longest known prefix is always used"
    )
    client_metadata: Annotated[JsonValue, Unused()] = Field(None, description="ignored: nothing is stored")


class ReasoningText(Reply):
    """The text of the reasoning."""

    type: Literal["reasoning_text"] = "reasoning_text"
    text: str


class OutputReasoning(Reply):
    """The reasoning before the answer."""

    id: str
    type: Literal["reasoning"] = "reasoning"
    status: Literal["in_progress", "completed", "incomplete"]
    summary: list[Any]
    content: list[ReasoningText]
    pellucid: CallTokens | None = Field(None, description="the tokens, if logprobs were asked for")


class OutputText(Reply):
    """The text of an answer; ``logprobs`` is empty unless requested."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprob]


class OutputMessage(Reply):
    """The message of an answer."""

    id: str
    type: Literal["message"] = "message"
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class CallTokens(Reply):
    """The tokens of a call or of a part of a call."""

    tokens: list[WrittenToken]


class OutputCall(Reply):
    """A call by the model; ``arguments`` is the JSON text that the model wrote."""

    id: str
    type: Literal["function_call"] = "function_call"
    status: Literal["in_progress", "completed", "incomplete"]
    call_id: str
    name: str
    arguments: str
    pellucid: CallTokens | None = Field(None, description="the tokens, if logprobs were asked for")


class InputTokensDetails(Reply):
    """The number of prompt tokens read from the cache, and added to the cache."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(Reply):
    """The number of reasoning tokens."""

    reasoning_tokens: int = 0


class ResponseUsage(Reply):
    """The tokens of a request."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int
    pellucid: UsageDetails


class ResponseError(Reply):
    """The error that ended a streamed answer."""

    code: str = Field(description="context_length_exceeded, rate_limit_exceeded, invalid_prompt or server_error")
    message: str


class IncompleteDetails(Reply):
    """The reason why an answer is incomplete."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseReply(Reply):
    """An answer, with the fields of the request."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[OutputMessage | OutputReasoning | OutputCall]
    parallel_tool_calls: bool
    previous_response_id: None
    reasoning: dict[str, Any]
    store: Literal[False] = False
    temperature: float
    text: dict[str, Any]
    tool_choice: Any
    tools: list[Any]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None
    user: str | None
    metadata: Any
    pellucid: AnswerDetails | None = None
