"""Wire shapes of OpenAI's routes and of /v1/score."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from pellucid.api.schema.common import (
    MAX_CHOICES,
    MAX_TOKENS,
    MIN_PENALTY,
    Body,
    ModelQuery,
    OnlyFalse,
    OnlyTrue,
    Reply,
    ReplyDetails,
    ResponseFields,
    Samplers,
    Temperature,
    TokenId,
    Unused,
    WrittenToken,
)
from pellucid.api.schema.structured import COMPLETE_ABOUT, FieldRecord, FormatFields
from pellucid.api.schema.tool_calls import (
    MAX_TOOLS,
    PARALLEL_ABOUT,
    CallRecord,
    MessageToolCall,
    ToolCallDelta,
    ToolCallReply,
    ToolFields,
)
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.token import MAX_ALTERNATIVES

Bias = Annotated[float, Field(ge=-100, le=100)]
TokenKey = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


def _first_mistake(value: object) -> object:
    """Raise ValueError at the first wrong entry of a large object.

    Pydantic would report each wrong entry, which takes memory and time.
    """
    if isinstance(value, dict) and len(value) > 1000:
        for key, bias in value.items():
            if not (
                key.isdecimal()
                and key.isascii()
                and len(key) <= 9
                and type(bias) in (int, float)
                and -100 <= bias <= 100
            ):
                raise ValueError(f"{key[:80]!r} must be a token id with a bias from -100 to 100")
    return value


Biases = Annotated[dict[TokenKey, Bias], BeforeValidator(_first_mistake)]
StopText = Annotated[str, Field(min_length=1)]
StopTexts = StopText | Annotated[list[StopText], Field(fail_fast=True, max_length=64)]
Ids = Annotated[list[TokenId], Field(fail_fast=True, min_length=1)]
MAX_MESSAGES = 1 << 14
Choices = Annotated[int, Field(ge=1, le=MAX_CHOICES)]
Alternatives = Annotated[int, Field(ge=0, le=MAX_ALTERNATIVES)]


class StreamOptions(Body):
    """Details of a stream."""

    include_usage: bool = Field(False, description="end the stream with an event for the usage")
    continuous_usage_stats: bool = Field(False, description="extension: every event has the answer's usage so far")
    include_obfuscation: OnlyFalse = Field(False, description="always false: streams are never padded")


class ContextFile(Body):
    """Text of another file, for infill."""

    filename: str
    text: str


class Admittance(ModelQuery):
    """The terms of a request: priority, superseding, deadline (extensions to OpenAI's fields)."""

    priority: Literal["completion", "chat", "background"] | None = Field(
        None, description="extension: priority class; completion first, background last"
    )
    supersede: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="extension: a newer request from the same client with the same text in this field ends this "
        "request",
    )
    deadline: float | None = Field(
        None, gt=0, le=86400, description="extension: time limit in seconds; the answer ends with the tokens so far"
    )


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


class TextPart(Body):
    """A text part of a message, the only supported kind."""

    type: Literal["text"]
    text: str


class ChatMessage(Body):
    """A message of a conversation.

    Only an assistant's message with tool calls may have no content.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)] | None = None
    name: str | None = Field(None, description="the name of the speaker or the tool, for templates that show the name")
    tool_calls: Annotated[list[MessageToolCall], Field(fail_fast=True, max_length=MAX_TOOLS)] = Field(
        [], description="the assistant's calls"
    )
    tool_call_id: str | None = Field(None, description="with the role tool: the call that returned this result")
    refusal: None = Field(None, description="allowed, so that an answer can be sent back as a message")
    reasoning_content: Annotated[str | None, Unused()] = Field(
        None, description="ignored: not part of the conversation"
    )

    @model_validator(mode="after")
    def _fits_role(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"a message of the role {self.role} cannot have tool_calls")
        if self.tool_call_id is not None and self.role != "tool":
            raise ValueError(f"a message of the role {self.role} cannot have a tool_call_id")
        if self.content is None and not self.tool_calls:
            raise ValueError("content is required, except of an assistant with tool_calls")
        return self


Messages = Annotated[list[ChatMessage], Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES)]
"""A conversation. Only the first wrong item is reported, as reports take memory and time."""


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
    reasoning_effort: Annotated[str | None, Unused()] = Field(
        None, description="ignored: the models do not reason apart from the answer"
    )
    verbosity: Annotated[str | None, Unused()] = Field(None, description="ignored: ask for a short answer in a message")
    chat_template_kwargs: Annotated[dict[str, JsonValue], Unused()] = Field(
        {}, description="ignored, and refused if the model's template reads any of these variables"
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
    stream: bool = False


class CompletionTokensDetails(Reply):
    """The tokens of the request's prediction, accepted or rejected."""

    accepted_prediction_tokens: int = Field(description="tokens of the prediction in the answer")
    rejected_prediction_tokens: int = Field(description="the other tokens of the prediction")


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
        "changed; null if at most 64 tokens were computed, and for a scored text"
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


class EndDetails(Reply):
    """The exact reason why an answer ended."""

    reason: FinishReason
    stop: str | None = Field(None, description="the stop text that ended the answer")
    calls: Annotated[list[CallRecord] | None, Field(description="the details of each tool call")] = None
    loose_functions: Annotated[
        list[str] | None, Field(description="functions with a schema that cannot be enforced")
    ] = None
    complete: Annotated[bool | None, Field(description=COMPLETE_ABOUT)] = None
    fields: Annotated[
        list[FieldRecord] | None, Field(description="with a JSON grammar and logprobs: the values of the answer")
    ] = None


class LegacyLogprobs(Reply):
    r"""Logprobs in the shape of completions.

    Incomplete UTF-8 of a token is written as ``bytes:\xf0\x9f``.
    """

    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]
    pellucid: list[WrittenToken]


class PromptLogprob(Reply):
    """A token at a position of the prompt."""

    logprob: float
    rank: int | None
    decoded_token: str


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


class TopLogprob(Reply):
    """An alternative."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Reply):
    """A token of the answer; ``bytes`` are the token's bytes, ``pellucid`` all of its data."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]
    pellucid: WrittenToken


class ChatLogprobs(Reply):
    """Logprobs in the shape of chats."""

    content: list[TokenLogprob]
    refusal: None = None


class ChatAnswer(Reply):
    """The assistant's message."""

    role: Literal["assistant"] = "assistant"
    content: str | None = Field(description="null if the answer consists of tool calls")
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


class ModelObject(Reply):
    """A served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["pellucid"] = "pellucid"
    meta: dict[str, Any] = Field(
        description="state (loading or ready), and once loaded n_ctx (tokens of context), infill, files (whether an "
        "infill may include text of other files), next_edit (the form in which the model was trained to propose next "
        "edits, or null), chat, chat_template (Jinja, or null), memory (weights, cache and cache_limit, in bytes), "
        "description, licence, revision (identifies these weights among weights with the same name), calibration (the "
        "findings of `pellucid calibrate`, else the built-in ones, or null) and calibration_note (the reason why the "
        "findings of `pellucid calibrate` are not used), edit_calibration and edit_calibration_note (the same for "
        "next edits; if this model has no next-edit calibration, the default model's), and for a model with an "
        "adapter the names of its base and adapter (memory.weights then counts only the adapter). On a server with "
        "remote engines also engines: the addresses of the engines that compute this model now"
    )


class ModelList(Reply):
    """All served models."""

    object: Literal["list"] = "list"
    data: list[ModelObject]
