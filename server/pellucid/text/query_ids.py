"""The token ids of a query: the prompt, the chat with its images, and the biases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Event

from pellucid.errors import InvalidRequestError
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.models.vision.encoded_image import EncodedImage
from pellucid.models.vision.picture_file import picture_bytes
from pellucid.text.healing import Healing
from pellucid.text.prompts import (
    HUGE_TEXT_CHARACTERS,
    Prompt,
    Tools,
    chat_characters,
    infill,
    refuse_huge,
    surroundings,
)
from pellucid.text.text_model import TextModel, run_template
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery

MAX_BIAS_CHARACTERS = 2**14
"""Maximum total length of the texts in ``logit_bias``."""

MAX_IMAGES = 32
"""A tiny picture may cost as many tokens, and seconds, as a large picture."""

_image_thread = ThreadPoolExecutor(1, thread_name_prefix="pellucid-image")
"""Two images at once would share the processors, and keep the threads of texts busy."""


def prompt_ids(served: TextModel, query: CompletionQuery) -> list[int]:
    if not isinstance(query.prefix, str):
        return list(query.prefix)
    if query.suffix is None:
        return served.encode(query.prefix, special=query.special)
    return infill_ids(served, query, heal=False)[0]


def prompt_text(served: TextModel, query: CompletionQuery) -> str:
    """Return a plain text unchanged, or the decoded prompt of an infill or ids."""
    if isinstance(query.prefix, str) and query.suffix is None:
        return query.prefix
    return served.detokenize(prompt_ids(served, query))


def prompt_characters(query: CompletionQuery) -> int:
    """Return an upper bound of the characters to tokenize: long texts are trimmed first."""
    size = len(query.prefix) + len(query.suffix or "") + sum(len(chunk.text) for chunk in query.extra)
    return min(size, HUGE_TEXT_CHARACTERS)


def infill_ids(served: TextModel, query: CompletionQuery, *, heal: bool) -> tuple[list[int], Healing | None]:
    """Return the ids of an infill, with at least half of the context, and the healing."""
    assert isinstance(query.prefix, str)
    context, format = served.context, served.model.infill
    budget = max(context - query.params.max_tokens, context // 2) - 1
    around = surroundings(served.tokenizer, format, query.prefix, query.suffix or "", query.extra, budget, query.window)
    healing = None
    if heal:
        shortened, healing = served.healer.heal(around.prefix, keep=1 if format is None else 0)
        around = replace(around, prefix=shortened)
    return infill(served.tokenizer, format, around), healing


async def chat_prompt(served: TextModel, query: ChatQuery, context: int | None = None) -> Prompt:
    size = chat_characters(query.messages, query.shown_tools)
    if context is None:
        refuse_huge(size, "messages")
    encode = partial(
        served.template.encode,
        query.messages,
        continue_last=query.continue_last,
        tools=query.shown_tools,
        context=context,
        reasoning=query.reasoning,
        images=await encode_images(served, query.messages),
    )
    return await run_template(served, size, encode)


async def encode_images(served: TextModel, messages: Sequence[Message]) -> list[EncodedImage]:
    """Encode the images of messages, off the event loop, until the request is cancelled.

    A model without an image part encodes no image; the chat template then refuses the messages.
    """
    vision = served.model.vision
    if vision is None:
        return []
    count = sum(len(message.images) for message in messages)
    if count > MAX_IMAGES:
        sentence = f"The messages have {count} images, and at most {MAX_IMAGES} are read: send fewer images."
        raise InvalidRequestError(sentence, param="messages")
    files = [picture_bytes(image.url) for message in messages for image in message.images]
    run, left = asyncio.get_running_loop().run_in_executor, Event()
    try:
        return [await run(_image_thread, vision.encode, file, left) for file in files]
    finally:
        left.set()


async def chat_text(served: TextModel, messages: Sequence[Message], tools: Tools = ()) -> str:
    render = partial(served.template.render, messages, tools=tools)
    return await run_template(served, chat_characters(messages, tools), render)


def token_biases(tokenizer: Tokenizer, pairs: Iterable[tuple[int | str, float]]) -> dict[int, float]:
    """Return the biases by token id; a text's bias applies to each token of the text.

    The last bias of a token counts.
    """
    biases: dict[int, float] = {}
    pairs = list(pairs)
    if (size := sum(len(what) for what, _ in pairs if isinstance(what, str))) > MAX_BIAS_CHARACTERS:
        sentence = (
            f"The texts in logit_bias have {size} characters, but at most {MAX_BIAS_CHARACTERS} are allowed: "
            "use shorter texts."
        )
        raise InvalidRequestError(sentence, param="logit_bias")
    for what, bias in pairs:
        biases.update(dict.fromkeys([what] if isinstance(what, int) else tokenizer.encode(what, special=True), bias))
    return biases
