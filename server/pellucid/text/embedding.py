"""Turns a text into one vector: the mean of the last hidden states of its tokens, scaled to length 1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F

from pellucid.engine.engine import Engine
from pellucid.engine.request import Request
from pellucid.errors import InvalidRequestError
from pellucid.text.model_with_tokenizer import TextModel, run_tokenizer
from pellucid.tokens import BACKGROUND, Embedding, SamplingParams, ScoreQuery


async def embed(engine: Engine, served: TextModel, text: str | Sequence[int], *, truncate: bool) -> Embedding:
    """Return the embedding of a text or of token ids; with ``truncate`` that of its beginning if the context holds no more.

    Raises NotSupportedError for a model without hidden states, InvalidRequestError for an empty text, and ContextLengthError.
    """
    ids, has_bos = await run_tokenizer(served, len(text), partial(served.read, ScoreQuery(text)))
    if len(ids) == has_bos:
        raise InvalidRequestError("There is nothing to embed: send at least one token of text.", param="input")
    if truncate:
        ids = ids[: engine.context(served.name)]
    request = Request(ids, SamplingParams(max_tokens=0), BACKGROUND, pool=True)
    try:
        total, finish = await engine.sum_hidden(served.name, request)
    except InvalidRequestError as error:
        error.param = "input"  # which the engine knows as the prompt
        raise
    return Embedding(F.normalize(total, dim=0).tolist(), finish)  # the sum has the direction of the mean
