"""Wire shapes of /infill and /completion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, RootModel

from pellucid.api.schema.common import Body, ModelQuery, OnlyFalse, OnlyTrue, Reply, ReplyDetails, Unused
from pellucid.api.schema.sampling import (
    MAX_CHOICES,
    MAX_TOKENS,
    MIN_PENALTY,
    Bias,
    Biases,
    Ids,
    StopText,
    Temperature,
    TokenId,
)
from pellucid.api.schema.structured import COMPLETE_ABOUT, FieldRecord, GrammarFields
from pellucid.api.schema.tokens import GrammarRecord
from pellucid.vocabulary.token import MAX_ALTERNATIVES

SamplerName = Literal["penalties", "temperature", "top_k", "top_p", "min_p", "infill"]
Samplers = Annotated[list[SamplerName], Field(fail_fast=True)] | None
ResponseFields = Annotated[list[str], Field(fail_fast=True, max_length=256)] | None

BiasPair = Annotated[list[TokenId | StopText | Bias | OnlyFalse], Field(min_length=2, max_length=2)]
Milliseconds = Annotated[int, Field(ge=-1, le=86_400_000)]

SAMPLERS_ABOUT = (
    "the sampling steps; by default all. A step that is not listed is off. The order is penalties, temperature, top_k, "
    "top_p, min_p, but min_p may precede temperature if top_p is not listed; a list in which temperature follows top_p "
    "is refused. With `infill` and without `temperature` the answer is the most probable one; further answers "
    "(`n_cmpl`) are sampled at temperature 1 from the tokens that top_k, top_p and min_p leave."
)
PROMPT_TIME_ABOUT = (
    "accepted for compatibility with llama-server, but the prompt is always read in full: part of a prompt has no "
    "answer, and the clients' warm-up sends 1. A closed connection, or a newer request with the same id_slot, ends "
    "this request."
)
LAST_N_ABOUT = (
    "the tokens that penalties count: ignored without penalties, and refused with them, which count all tokens"
)
SLOT_ABOUT = (
    "0 or more: a newer request with the same number from the same client (address, API key, User-Agent) ends this "
    "one, which then returns the text so far with `superseded: true`. The server itself chooses the cache slot."
)


class Generation(ModelQuery, GrammarFields):
    """Sampling parameters, and rules that end the answer."""

    n_predict: int = Field(
        -1,
        ge=-1,
        le=MAX_TOKENS,
        description="maximum tokens to generate; -1: until the context is full; 0: only read the prompt",
    )
    temperature: Temperature | None = Field(
        None, description="0 always picks the most probable token; by default 0.8, for /infill 0"
    )
    top_k: int = Field(40, ge=-1, le=MAX_TOKENS, description="0 or -1: off")
    top_p: float = Field(0.95, ge=0, le=1)
    min_p: float = Field(0.05, ge=0, le=1)
    repeat_penalty: float = Field(
        1.0, ge=MIN_PENALTY, le=10, description="penalizes tokens of the prompt and the answer; 1: off"
    )
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="penalizes tokens already in the answer")
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="penalizes tokens already in the answer")
    samplers: Samplers = Field(None, description=SAMPLERS_ABOUT)
    seed: int = Field(-1, ge=-1, lt=2**63, description="-1: a random seed")
    ignore_eos: bool = False
    logit_bias: Biases | Annotated[list[BiasPair], Field(fail_fast=True)] = Field(
        [],
        description="pairs [token id or text, bias]; a text biases each token of the text; false means -100",
        examples=[[[15043, 1.0], ["foo", False]]],
    )
    stop: Annotated[list[StopText], Field(fail_fast=True)] = Field(
        [], max_length=64, description="the answer ends before the first of these texts"
    )
    stream: bool = False
    n_probs: int = Field(0, ge=0, le=MAX_ALTERNATIVES, description="return this many alternatives for each token")
    post_sampling_probs: bool = Field(
        False,
        description="with n_probs: return the probabilities of the remaining alternatives after temperature, top_k, "
        "top_p and min_p; not with penalties, logit_bias or a grammar; switches token healing off",
    )
    n_indent: int = Field(0, ge=0, le=1000, description="end the answer before a line indented by fewer spaces or tabs")
    t_max_predict_ms: Milliseconds = Field(
        -1,
        description="milliseconds from the first token until the answer ends, if the answer has a line break; -1: no "
        "limit",
    )
    t_max_prompt_ms: Milliseconds = Field(-1, description=PROMPT_TIME_ABOUT)
    penalty_last_n: Annotated[int | None, Unused()] = Field(None, description=LAST_N_ABOUT)
    repeat_last_n: Annotated[int | None, Unused()] = Field(None, description=LAST_N_ABOUT)
    cache_prompt: OnlyTrue = Field(True, description="always true: the cache is always used")
    id_slot: int = Field(-1, ge=-1, lt=2**31, description=SLOT_ABOUT)
    n_cmpl: int = Field(
        1, ge=1, le=MAX_CHOICES, description="number of answers; for several answers, the response is an array"
    )
    return_tokens: bool = Field(False, description="return the token ids of the answer")
    response_fields: ResponseFields = Field(
        None,
        description="return only these fields, not in streams; `timings/prompt_n` selects a field of an object and "
        "becomes a key of the response; unknown names are ignored",
        examples=[["content", "timings/prompt_n"]],
    )


class LlamaCompletionRequest(Generation):
    """A text or token ids to continue.

    As in llama-server, text that spells a special token becomes the special token.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"prompt": "def add(a, b):\n    return ", "n_predict": 8, "n_probs": 5}]}
    )

    prompt: str | Ids


class ExtraText(Body):
    """Text of another file."""

    text: str
    filename: str = "untitled"
    time: JsonValue = Field(
        None, description="the time when the client read the text; ignored, because the order of the texts counts"
    )


class InfillRequest(Generation):
    """A gap to fill, in the model's best measured infill format."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"input_prefix": "def add(a, b):\n", "prompt": "    return ", "input_suffix": "\n", "n_predict": 8}
            ]
        }
    )

    input_prefix: str = Field("", description="the text before the cursor's line")
    input_suffix: str = Field("", description="the text after the cursor")
    input_extra: Annotated[list[ExtraText], Field(fail_fast=True)] = Field(
        [], description="texts of other files, the most relevant text last; ignored if the model has no token for files"
    )
    prompt: str = Field("", description="the cursor's line up to the cursor, after input_prefix")


class Timings(Reply):
    """The times of a request, in milliseconds."""

    cache_n: int = Field(description="prompt tokens read from the cache")
    prompt_n: int = Field(description="prompt tokens computed")
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class LlamaProb(Reply):
    """An alternative: logprob, or with post_sampling_probs prob (missing if not reported)."""

    id: int
    token: str
    bytes: list[int]
    logprob: float | None = None
    prob: float | None = None


class LlamaTokenProb(LlamaProb):
    """A token of the answer and its alternatives."""

    grammar: GrammarRecord | None = Field(None, description="extension, only with a grammar")
    top_logprobs: list[LlamaProb] | None = None
    top_probs: list[LlamaProb] | None = None


class LlamaDetails(ReplyDetails):
    """Remarks on the request and, with a grammar, on the end of the answer."""

    complete: bool | None = Field(None, description=COMPLETE_ABOUT)
    fields: list[FieldRecord] | None = Field(
        None, description="with a JSON grammar and n_probs: the values of the answer"
    )


class LlamaReply(Reply):
    """An answer."""

    index: int
    content: str
    tokens: list[int]
    id_slot: int
    stop: Literal[True] = True
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    generation_settings: dict[str, Any]
    prompt: str
    has_new_line: bool
    truncated: bool = Field(description="whether the answer ended because the context was full")
    stop_type: Literal["none", "eos", "limit", "word"]
    stopping_word: str
    superseded: bool = Field(description="whether a newer request ended this request")
    tokens_cached: int = Field(description="tokens now in the cache")
    timings: Timings
    completion_probabilities: list[LlamaTokenProb] | None = None
    pellucid: LlamaDetails | None = None


class PickedReply(RootModel[dict[str, JsonValue]]):
    """An answer with only the fields in ``response_fields``, under the given names."""


class LlamaChunk(Reply):
    """An event of a stream. The last event is a whole answer with empty content instead."""

    index: int
    content: str
    tokens: list[int]
    id_slot: int
    stop: Literal[False] = False
    tokens_predicted: int
    tokens_evaluated: int
    completion_probabilities: list[LlamaTokenProb] | None = None
    pellucid: ReplyDetails | None = None
