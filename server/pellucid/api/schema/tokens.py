"""Wire shapes of a token with its probabilities."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import any_schema

from pellucid.api.schema.common import Reply


class AlternativeRecord(Reply):
    """A token that the model could have chosen."""

    id: int
    token: str
    bytes: list[int]
    logprob: float


class CallDeltaRecord(Reply):
    """A token's contribution to a call: first the id and the name, then parts of the arguments."""

    index: int
    arguments: str
    id: str | None = None
    name: str | None = None


class CallPartRecord(Reply):
    """The tool call of a token."""

    call: int = Field(description="the index of the call")
    deltas: list[CallDeltaRecord] = Field(
        description="the token's part of calls; the pieces of arguments join to the whole arguments"
    )


class GrammarRecord(Reply):
    """The effect of a grammar on a token's choice.

    All other data of the token is the same as without a grammar.
    """

    mass: float = Field(description="the model's own total probability of the tokens allowed by the grammar")
    allowed: int = Field(description="the number of tokens allowed by the grammar")
    forced: bool = Field(description="true if the grammar allowed only this token")
    logprob: float = Field(description="the token's logprob among the tokens allowed by the grammar")


class TokenRecord(Reply):
    """All data of a generated or read token.

    Logprobs are natural logarithms of the model's own distribution, before temperature and other
    sampling settings. The first token of a prompt has no logprob, rank or entropy (null). Under
    token healing, top holds only tokens that repeat typed text, and exp(logprob) / allowed is the
    probability of the token among these tokens. Under a grammar, top also holds refused tokens.
    """

    id: int
    token: str = Field(
        description="the text completed by this token; the texts of consecutive tokens join to the whole text"
    )
    bytes: list[int] = Field(description="the token's exact bytes, which may be part of a character")
    position: int = Field(description="position, counted from the first token of the prompt")
    logprob: float | None
    rank: int | None = Field(description="rank in the model's distribution; 1 is the most probable token")
    entropy: float | None = Field(
        description="entropy of the model's distribution, in nats; null for a prompt's first token, and if the engine "
        "does not report the entropy"
    )
    entropy_range: list[float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="only if the exact entropy is not known: the minimum and maximum possible entropy, in nats",
    )
    top: list[AlternativeRecord] = Field(
        description="the most probable alternatives; fewer than requested if token healing allows few tokens. A "
        "remote engine reports only the 20 most probable tokens, so the alternatives are fewer if few of the 20 "
        "tokens are allowed"
    )
    rest: float = Field(description="the total probability of all tokens outside top")
    sampled: float | None = Field(
        description="the token's probability in the sampler; null for prompt tokens, and if the engine does not "
        "report the probability"
    )
    allowed: float = Field(
        description="under token healing, the probability of all tokens that repeat the typed text (from a remote "
        "engine, an upper bound); otherwise 1"
    )
    part: CallPartRecord | None = Field(
        None, description="only for the tokens of a tool call; these tokens have no text"
    )
    grammar: GrammarRecord | None = Field(None, description="only with a grammar")
    experts: list[list[tuple[int, float]]] | None = Field(
        None,
        description="only if requested: for each layer, the experts that computed the prediction of this token, and "
        "the weights of their outputs; the most probable expert is first",
    )
    reasoning: str | None = Field(
        None, description="only for the tokens of the reasoning before an answer: the text; token is then empty"
    )


class _Written:
    """Annotates a record of ``token_json.record_of``: described as TokenRecord, sent unchanged."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return any_schema()

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TokenRecord.__pydantic_core_schema__)


WrittenToken = Annotated[dict[str, Any], _Written()]


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
