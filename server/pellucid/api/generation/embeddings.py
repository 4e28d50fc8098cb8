"""Embeddings of the inputs of a request, for several dialects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Request
from pydantic import Field

from pellucid.api.generation.generated_answer import checked
from pellucid.api.schema.common import ReplyDetails
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import attend
from pellucid.errors import InvalidRequestError
from pellucid.system.concurrent_work import run_all
from pellucid.text.embedding import embed
from pellucid.text.text_model import TextModel
from pellucid.vocabulary.finish import Embedding

MAX_INPUTS = 2048
"""Maximum texts per request (OpenAI's own limit)."""

NOTE = (
    "This model was trained to write text, not to make embeddings: similar texts have similar vectors, but a model "
    "that was trained for embeddings finds them more reliably."
)
Size = Annotated[int | None, Field(ge=1)]
SIZE_ABOUT = "must be the length of the model's vectors, which cannot be cut, as no model here was trained for that"


AT_ONCE = 2
"""Concurrent inputs per request: short inputs share a step, and most slots keep their prefixes."""

Input = str | Sequence[int]


class EmbeddingDetails(ReplyDetails):
    """Remarks on the vectors."""

    pooling: Literal["mean of the last hidden states"] = "mean of the last hidden states"
    note: str = NOTE


async def embed_all(
    request: Request, served: TextModel, inputs: Sequence[Input], *, truncate: bool = False
) -> list[Embedding]:
    state = state_of(request)
    made: dict[int, Embedding] = {}
    waiting = iter(enumerate(inputs))

    async def work() -> None:
        for number, text in waiting:
            with state.metrics.timer(served.name, state.clock) as timer:
                embedding = await embed(served, text, truncate=truncate)
                timer.note(embedding.finish)
            checked(embedding.finish)
            made[number] = embedding

    await attend(request, state.closing, run_all([work() for _ in range(min(AT_ONCE, len(inputs)))]))
    return [made[number] for number in range(len(inputs))]


def check_size(served: TextModel, wanted: int | None) -> None:
    """Raise InvalidRequestError for a wrong length, NotSupportedError if there are no vectors."""
    size = served.engine.hidden_size(served.name)
    if wanted not in (None, size):
        raise InvalidRequestError(
            f"The vectors of {served.name} have {size} numbers and cannot be cut, "
            "as it was not trained for that: omit dimensions.",
            param="dimensions",
        )


def prompt_tokens(made: Sequence[Embedding]) -> int:
    return sum(embedding.finish.usage.prompt for embedding in made)
