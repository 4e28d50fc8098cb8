"""Text embeddings: the mean of the tokens' last hidden states, scaled to length 1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from pellucid.door.users import current_request
from pellucid.engine.request import Request
from pellucid.errors import ContextLengthError, InvalidRequestError
from pellucid.text.prompts import refuse_huge
from pellucid.text.text_model import TextModel, run_tokenizer
from pellucid.vocabulary.finish import Embedding
from pellucid.vocabulary.query import BACKGROUND, SamplingParams, ScoreQuery

SHORTEST = 1e-12
"""Minimum divisor: a vector of zeros has no length."""


async def embed(served: TextModel, text: str | Sequence[int], *, truncate: bool = False) -> Embedding:
    """Return an embedding; ``truncate`` cuts a text that is longer than the context."""
    user = current_request()
    user.begin()
    context = served.context
    if truncate:
        refuse_huge(len(text), "input")
    try:
        prompt, has_bos = await run_tokenizer(
            served, len(text), partial(served.read, ScoreQuery(text), None if truncate else context)
        )
    except ContextLengthError as error:
        error.param = "input"
        raise
    ids = prompt.ids
    if len(ids) == has_bos:
        raise InvalidRequestError("There is nothing to embed: send at least one token of text.", param="input")
    if truncate:
        ids = ids[:context]
    request = Request(ids, SamplingParams(max_tokens=0), BACKGROUND, pool=True, cache_salt=user.cache_salt)
    if len(ids) <= context:
        user.count(computed=len(ids))
    try:
        total, finish = await served.engine.sum_hidden(served.name, request)
    except InvalidRequestError as error:
        error.param = "input"  # The engine names the field "prompt".
        raise
    length = max(float(np.linalg.norm(total)), SHORTEST)
    return Embedding((total / length).tolist(), finish)  # The sum has the direction of the mean.
