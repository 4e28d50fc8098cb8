"""Wire shapes of /api/generate and /api/chat."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator

from pellucid.api.dialects.ollama.common import KEEP_ABOUT, Absent, OllamaQuery
from pellucid.api.schema.answer_fields import AnswerFacts
from pellucid.api.schema.common import Body, OnlyFalse, OnlyTrue, Reply, Unused
from pellucid.api.schema.messages import MAX_MESSAGES
from pellucid.api.schema.sampling import MAX_TOKENS, MIN_PENALTY, Alternatives, StopTexts, Temperature
from pellucid.api.schema.tokens import TokenLogprob
from pellucid.api.schema.tool_calls import MAX_TOOLS, Name, Tool
from pellucid.api.schema.usage import UsageDetails
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.message import Image


def _off(value: float) -> float:
    if value != 1:
        raise ValueError("only 1, which switches it off, is supported")
    return value


OnlyOne = Annotated[float, AfterValidator(_off), WithJsonSchema({"const": 1})]
IgnoredNumber = Annotated[int | None, Unused(), Field(description="ignored: the server's own settings decide")]
IgnoredFlag = Annotated[bool | None, Unused(), Field(description="ignored: the server's own settings decide")]


def _as_url(picture: str) -> str:
    # Base64 has no colon. Some clients send a data URL, and some an address, which Image refuses.
    return (Image(0, picture) if ":" in picture[:100] else Image.of_base64(picture)).url


Pictures = Annotated[list[Annotated[str, AfterValidator(_as_url)]], Field(fail_fast=True)]
PICTURES_ABOUT = "files of pictures in base64, for a model with the capability vision"
WINDOW_ABOUT = (
    "penalties count all tokens of the prompt (`repeat_penalty`) and the answer, which is -1; 0 switches penalties "
    "off; any other number is refused together with a penalty"
)


class OllamaOptions(Body):
    """The options of a generation.

    ``pellucid.ignored`` lists options without effect on an answer.
    """

    num_predict: int = Field(
        -1,
        ge=-2,
        le=MAX_TOKENS,
        description="maximum tokens of the answer; 0 or less: until the model ends the answer or the context is full",
    )
    temperature: Temperature = Field(0.8, description="0 always picks the most probable token")
    top_k: int = Field(40, ge=-1, le=MAX_TOKENS, description="0 or -1: off")
    top_p: float = Field(0.9, ge=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1, description="0: off")
    seed: int = Field(-1, ge=-1, lt=2**63, description="-1: a random seed")
    stop: StopTexts = Field([], description="the answer ends before the first of these texts")
    repeat_penalty: float = Field(
        1.0,
        ge=MIN_PENALTY,
        le=10,
        description="penalizes tokens of the prompt and the answer; 1, unlike ollama's 1.1, is the default: off",
    )
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="penalizes tokens already in the answer")
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="penalizes tokens already in the answer")
    repeat_last_n: int = Field(-1, ge=-1, le=MAX_TOKENS, description=WINDOW_ABOUT)
    penalize_newline: OnlyTrue = Field(True, description="always true: penalties count line breaks too")
    mirostat: Literal[0] = Field(0, description="always 0: off")
    typical_p: OnlyOne = Field(1.0, description="always 1: off")
    tfs_z: OnlyOne = Field(1.0, description="always 1: off")
    vocab_only: OnlyFalse = Field(False, description="always false")
    embedding_only: OnlyFalse = Field(False, description="always false")
    mirostat_tau: Annotated[float | None, Unused()] = Field(None, description="ignored: mirostat is off")
    mirostat_eta: Annotated[float | None, Unused()] = Field(None, description="ignored: mirostat is off")
    num_ctx: IgnoredNumber = None
    num_keep: IgnoredNumber = None
    num_batch: IgnoredNumber = None
    num_gpu: IgnoredNumber = None
    main_gpu: IgnoredNumber = None
    num_thread: IgnoredNumber = None
    numa: IgnoredFlag = None
    low_vram: IgnoredFlag = None
    f16_kv: IgnoredFlag = None
    logits_all: IgnoredFlag = None
    use_mmap: IgnoredFlag = None
    use_mlock: IgnoredFlag = None


class OllamaFields(OllamaQuery):
    """The shared fields of /api/generate and /api/chat."""

    stream: bool = Field(True, description="send the tokens as lines of JSON (NDJSON) as soon as they are generated")
    options: OllamaOptions = Field(default_factory=lambda: OllamaOptions.model_validate({}))
    logprobs: bool = Field(
        False, description="return each token's logprob, and in `pellucid` the token's rank, entropy and more"
    )
    top_logprobs: Alternatives = Field(0, description="with logprobs: return this many alternatives for each token")
    keep_alive: int | float | str | None = Field(None, description=KEEP_ABOUT)
    format: Literal["", "json"] | dict[str, Any] | None = Field(
        None,
        description="the required form of the answer: `json` (any JSON object) or a JSON schema; by default any text",
    )
    think: bool | Literal["low", "medium", "high"] = Field(
        False, description="think before the answer; an error if the model cannot think"
    )
    truncate: OnlyFalse = Field(False, description="always false: a too long prompt is an error, except for an infill")
    shift: OnlyFalse = Field(False, description="always false: an answer ends when the context is full")


class OllamaGenerateRequest(OllamaFields):
    """A question to answer, a gap to fill (``suffix``) or a text to continue (``raw``)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "def add(a, b):\n    return ",
                    "suffix": "\n",
                    "stream": False,
                    "options": {"num_predict": 8},
                }
            ]
        }
    )

    prompt: str = Field(
        "", description="if prompt and suffix are empty, the reply only states that the model is loaded"
    )
    suffix: str = Field("", description="the text after the gap; empty means no gap, as in ollama")
    system: str = Field("", description="the system message; not with suffix or raw")
    raw: bool = Field(
        False,
        description="continue the unchanged prompt, without the chat template; special tokens in the prompt are parsed",
    )
    template: Absent = Field(None, description="not supported: the model's own chat template is used")
    context: Absent = Field(None, description="not supported: send earlier messages to /api/chat")
    images: Pictures = Field([], description=f"{PICTURES_ABOUT}; not with suffix or raw")


class OllamaTool(Tool):
    """A function that the model may call."""

    type: Literal["function"] = "function"


class OllamaCalledFunction(Body):
    """The function of a call in a message."""

    name: Name
    arguments: dict[str, JsonValue] = Field({}, description="the arguments as an object, not as text")
    index: int | None = Field(
        None, description="allowed, so that a call of an answer can be sent back; the order of the calls counts"
    )


class OllamaMessageCall(Body):
    """A call by the assistant."""

    id: str = Field("", description="if empty, the place in the conversation identifies the call")
    type: Literal["function"] = "function"
    function: OllamaCalledFunction


class OllamaMessage(Body):
    """A message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    images: Pictures = Field([], description=f"{PICTURES_ABOUT}; the pictures precede the content")
    thinking: str = Field("", description="the assistant's thoughts, for templates that show the thoughts")
    tool_calls: Annotated[list[OllamaMessageCall], Field(fail_fast=True, max_length=MAX_TOOLS)] = Field(
        [], description="the assistant's calls"
    )
    tool_name: str = Field(
        "",
        description="with the role tool: the function that returned this result; of several calls of the function, "
        "the result belongs to the first call without a result",
    )
    tool_call_id: str = Field("", description="with the role tool: the id of the call that returned this result")

    @model_validator(mode="after")
    def _fits_role(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"a message of the role {self.role} cannot have tool_calls")
        if (self.tool_name or self.tool_call_id) and self.role != "tool":
            raise ValueError(
                f"a message of the role {self.role} cannot have {'tool_name' if self.tool_name else 'a tool_call_id'}"
            )
        return self


class OllamaChatRequest(OllamaFields):
    """A conversation to answer. An answer continues a last message of the assistant."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"messages": [{"role": "user", "content": "Hello"}], "stream": False, "options": {"num_predict": 8}}
            ]
        }
    )

    messages: Annotated[list[OllamaMessage], Field(fail_fast=True, max_length=MAX_MESSAGES)] = Field(
        [], description="if empty, the reply only states that the model is loaded"
    )
    tools: Annotated[list[OllamaTool], Field(fail_fast=True, max_length=MAX_TOOLS)] = Field(
        [], description="functions for the model to call; an error if the model's chat template has no place for tools"
    )


class OllamaEnd(AnswerFacts):
    """Pellucid's own details of an answer."""

    reason: Annotated[FinishReason | None, Field(description="the exact reason why the answer ended")] = None
    ignored: list[str] = Field(description="fields of the request without an effect")
    usage: UsageDetails | None = None


class OllamaProgress(Reply):
    """The shared fields of replies of /api/generate and /api/chat.

    In a stream, only the last line has the times and numbers.
    """

    model: str = Field(description="the name in /v1/models")
    created_at: str
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"] | None = None
    total_duration: int | None = Field(None, description="nanoseconds from the request to the end of the answer")
    load_duration: int | None = Field(None, description="always 0: models are loaded when the server starts")
    prompt_eval_count: int | None = Field(None, description="tokens of the prompt, including tokens from the cache")
    prompt_eval_duration: int | None = Field(None, description="nanoseconds from a free slot to the first token")
    eval_count: int | None = Field(None, description="tokens of the answer")
    eval_duration: int | None = Field(None, description="nanoseconds from the first token to the last")
    logprobs: list[TokenLogprob] | None = None
    pellucid: OllamaEnd | None = None


class OllamaGenerateReply(OllamaProgress):
    """An answer, or in a line of a stream the next part of an answer."""

    response: str
    thinking: str | None = None


class OllamaFunctionReply(Reply):
    """The function of a call; ``arguments`` is empty for a call that was cut off."""

    index: int
    name: str
    arguments: dict[str, Any]


class OllamaCallReply(Reply):
    """A call by the model."""

    id: str
    function: OllamaFunctionReply


class OllamaAnswer(Reply):
    """The assistant's message, or the next part of the message."""

    role: Literal["assistant"] = "assistant"
    content: str
    thinking: str | None = None
    tool_calls: list[OllamaCallReply] | None = Field(None, description="in a stream, a line has a whole call")


class OllamaChatReply(OllamaProgress):
    """An answer to a conversation, or in a line of a stream the next part of an answer."""

    message: OllamaAnswer
