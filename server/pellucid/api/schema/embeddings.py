"""Wire shapes of embeddings, for OpenAI's and ollama's clients."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from pellucid.api.schema.common import ModelQuery, Reply, ReplyDetails, Unused
from pellucid.api.schema.ollama import OllamaQuery
from pellucid.api.schema.openai import Ids

MAX_INPUTS = 2048
"""Maximum texts per request (OpenAI's own limit)."""

NOTE = (
    "This model was trained to write text, not to make embeddings: similar texts have similar vectors, but a model "
    "that was trained for embeddings finds them more reliably."
)

Texts = Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS)]
Size = Annotated[int | None, Field(ge=1)]
SIZE_ABOUT = "must be the length of the model's vectors, which cannot be cut, as no model here was trained for that"


class EmbeddingsRequest(ModelQuery):
    """Texts or token ids to turn into vectors."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"input": ["def add(a, b): return a + b", "The sum of two numbers."]}]}
    )

    input: str | Ids | Texts | Annotated[list[Ids], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="base64: the bytes of little-endian float32 numbers"
    )
    dimensions: Size = Field(None, description=SIZE_ABOUT)
    user: Annotated[str | None, Unused()] = Field(
        None, description="ignored: your identifier of the end user is not stored"
    )


class EmbeddingDetails(ReplyDetails):
    """Remarks on the vectors."""

    pooling: Literal["mean of the last hidden states"] = "mean of the last hidden states"
    note: str = NOTE


class EmbeddingItem(Reply):
    """The vector of one input, of length 1."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Reply):
    """The tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(Reply):
    """The vectors, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage
    pellucid: EmbeddingDetails


class OllamaEmbeddingFields(OllamaQuery):
    """The shared fields of ollama's two routes."""

    options: Annotated[dict[str, JsonValue], Unused()] = Field(
        {}, description="ignored: the options do not change a vector"
    )
    keep_alive: Annotated[int | float | str | None, Unused()] = Field(
        None, description="ignored: models stay loaded while the server runs"
    )


class OllamaEmbedRequest(OllamaEmbeddingFields):
    """Texts to turn into vectors."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": ["The sum of two numbers."]}]})

    input: str | Annotated[list[str], Field(fail_fast=True, max_length=MAX_INPUTS)] = Field(
        "", description="for an empty input, the reply has no vectors"
    )
    truncate: bool = Field(
        True, description="cut the end of a text longer than the context; false: such a text is an error"
    )
    dimensions: Size = Field(None, description=SIZE_ABOUT)


class OllamaEmbedReply(Reply):
    """The vectors, in the order of the texts. Durations are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int = 0
    prompt_eval_count: int
    pellucid: EmbeddingDetails


class OllamaEmbeddingsRequest(OllamaEmbeddingFields):
    """A text to turn into a vector, as older clients send it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "The sum of two numbers."}]})

    prompt: str = Field(
        "", description="an empty text has an empty vector; a text longer than the context is cut at the end"
    )


class OllamaEmbeddingsReply(Reply):
    """The vector of a text."""

    embedding: list[float]
    pellucid: EmbeddingDetails
