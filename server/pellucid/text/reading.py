"""Reading of given texts: the probability of each token."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from pellucid.door.users import CurrentRequest
from pellucid.engine.request import Admission, Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import InvalidRequestError
from pellucid.models.vision.encoded_image import EncodedImage
from pellucid.text.answer import Stream
from pellucid.text.detokenizer import Detokenizer
from pellucid.text.prepared_answers import check_completion
from pellucid.text.prompts import Prompt, chat_characters, refuse_huge, refuse_longer
from pellucid.text.query_ids import encode_images, infill_ids, prompt_characters
from pellucid.text.score_windows import RequestKeys, score_windows
from pellucid.text.text_model import TextModel, run_template, run_tokenizer
from pellucid.text.usage_meter import UsageMeter
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import CompletionQuery, SamplingParams, ScoreQuery


async def read(served: TextModel, query: ScoreQuery, keys: RequestKeys, user: CurrentRequest) -> Stream:
    key = query.terms.key
    user.begin(key)
    served.check_experts(query.experts)
    context = None if query.windows else served.context
    prompt, has_bos, begin = await _prompt(served, query, context)
    ids = prompt.ids
    if len(ids) == begin + has_bos:
        raise InvalidRequestError("There is nothing to score: send at least one token of text.", param="input")
    params = SamplingParams(max_tokens=0, top_logprobs=query.top_logprobs, experts=query.experts)
    request = Request(ids, params, query.terms, score_from=begin, cache_salt=user.cache_salt, embedded=prompt.embedded)
    detokenizer = Detokenizer(served.tokenizer, strip_space=served.tokenizer.prefix_space, show_markers=True)
    meter = UsageMeter(user)
    with keys.hold(key) as is_newest:
        items: AsyncGenerator[Admission | TokenScore | Finish]
        if query.windows and len(ids) > served.context and not prompt.embedded:
            served.check_ids(ids)  # Otherwise a window would be checked only when it is read.
            items = score_windows(
                served.engine, served.name, request, has_bos=has_bos, is_newest=is_newest, on_admission=meter.admit
            )
        else:
            items = served.engine.generate(served.name, request)
        async with aclosing(items):
            async for item in items:
                if isinstance(item, TokenScore):
                    for token in detokenizer.feed(item):
                        yield replace(token, text="") if has_bos and token.position == 0 else token
                elif isinstance(item, Admission):
                    meter.admit(item, len(ids))
                else:
                    meter.end(item.usage)
                    if item.reason is FinishReason.SUPERSEDED:
                        user.end_superseded(key)
                    for token in detokenizer.flush():
                        yield token
                    yield replace(item, reason=FinishReason.STOP) if item.reason is FinishReason.LENGTH else item


async def _prompt(served: TextModel, query: ScoreQuery, context: int | None) -> tuple[Prompt, bool, int]:
    """Return the prompt, whether an added BOS is first, and the index of the first id to score."""
    text = query.text
    size = sum(item.characters if isinstance(item, Message) else 1 for item in text)
    if query.windows and not isinstance(next(iter(text), None), int):
        refuse_huge(size, "text")
    if query.gap is not None:
        check_completion(served, query.gap)
        filled = partial(_filled_gap, served, query, query.gap, context)
        return await run_tokenizer(served, size + prompt_characters(query.gap), filled)
    if query.continued:
        size += chat_characters(query.continued, query.tools)
        images = await encode_images(served, query.continued)
        return await run_template(served, size, partial(_continuation, served, query, context, images))
    messages = [item for item in text if isinstance(item, Message)]
    images = await encode_images(served, messages)
    run = run_template if messages else run_tokenizer
    prompt, has_bos = await run(served, size, partial(served.read, query, context, images))
    return prompt, has_bos, 0


def _filled_gap(
    served: TextModel, query: ScoreQuery, gap: CompletionQuery, context: int | None
) -> tuple[Prompt, bool, int]:
    text = query.text
    if not isinstance(text, str) or (gap.suffix is None and not gap.special):
        raise InvalidRequestError("Only a text can be read between a prefix and a suffix.", param="text")
    refuse_longer(served.tokenizer, [text], context)
    if gap.suffix is None:
        assert isinstance(gap.prefix, str)
        refuse_longer(served.tokenizer, [gap.prefix], context)
        prefix = served.encode(gap.prefix, special=True)
        return Prompt(prefix + served.tokenizer.encode(text, special=True, continues=True)), False, len(prefix)
    filling = served.tokenizer.encode(text, continues=True)
    prompt, _ = infill_ids(served, replace(gap, params=SamplingParams(max_tokens=len(filling))), heal=False)
    return Prompt(prompt + filling), False, len(prompt)


def _continuation(
    served: TextModel, query: ScoreQuery, context: int | None, images: Sequence[EncodedImage]
) -> tuple[Prompt, bool, int]:
    if not isinstance(query.text, str):
        raise InvalidRequestError("Only a text can continue a message.", param="text")
    refuse_longer(served.tokenizer, [query.text], context)
    prompt = served.template.encode(
        query.continued, continue_last=True, tools=query.tools, context=context, images=images
    )
    ids = prompt.ids + served.tokenizer.encode(query.text, continues=True)
    return replace(prompt, ids=ids), False, len(prompt.ids)
