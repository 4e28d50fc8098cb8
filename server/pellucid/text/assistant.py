"""Completion, chat and scoring with the models of an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from pellucid.client.assistant_protocol import Reader
from pellucid.door.users import CurrentRequest, current_request
from pellucid.engine.port import Engine
from pellucid.models.served_model import ServedModel
from pellucid.text.answer import Stream, generate
from pellucid.text.prepared_answers import prepare_chat, prepare_completion
from pellucid.text.query_ids import prompt_characters, prompt_text
from pellucid.text.reading import read
from pellucid.text.score_windows import RequestKeys
from pellucid.text.served_models import ServedModels
from pellucid.text.stopping import EndingRule
from pellucid.text.text_model import TextModel, run_tokenizer
from pellucid.vocabulary.finish import OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, SamplingParams, ScoreQuery


class LocalAssistant(Reader):
    """An implementation of ``Assistant`` with an engine; the first model is the default.

    A stream belongs to the request that is current when the stream is created.
    """

    def __init__(self, engine: Engine, models: Sequence[ServedModel]) -> None:
        self.models = ServedModels(engine, models)
        self._keys = RequestKeys()

    def complete(
        self, query: CompletionQuery, *, endings: Sequence[EndingRule] = (), on_usage: OnUsage | None = None
    ) -> Stream:
        """Continue a text or token ids, or, with a suffix (also ""), fill in the gap.

        An infill without a grammar also ends before a repetition of the suffix and, at the end of a
        file, at the end of the cursor's block. Long infill prompts are trimmed; other long prompts
        raise ContextLengthError.
        """
        user = current_request()

        def answer(served: TextModel) -> Stream:
            prepare = partial(prepare_completion, served, query, endings, user.cache_salt)
            return generate(prepare, query.terms.key, self._keys, user, on_usage)

        return self._held(query.model, user, answer)

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> Stream:
        user = current_request()

        def answer(served: TextModel) -> Stream:
            prepare = partial(prepare_chat, served, query, user.cache_salt)
            return generate(prepare, query.terms.key, self._keys, user, on_usage)

        return self._held(query.model, user, answer)

    def score(self, query: ScoreQuery) -> Stream:
        """Score a text, ids or a conversation: yield every token, markers included.

        A BOS that the model needs is the first token, without text.
        """
        user = current_request()
        return self._held(query.model, user, lambda served: read(served, query, self._keys, user))

    async def infill_prompt(self, query: CompletionQuery) -> str:
        """Return the decoded prompt of an infill, without room for an answer.

        Further files are omitted for a model without a file marker.
        """
        async with self.models.using(query.model, current_request()) as served:
            extra, params = query.extra if served.takes_files else (), SamplingParams(max_tokens=0)
            shown = replace(query, suffix=query.suffix or "", extra=extra, params=params)
            return await run_tokenizer(served, prompt_characters(shown), partial(prompt_text, served, shown))

    async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
        async with self.models.using(model, current_request()) as served:
            return await run_tokenizer(served, len(text), partial(served.encode, text, special=False))

    async def cards(self) -> list[ModelCard]:
        return self.models.cards()

    async def _held(self, model: str | None, user: CurrentRequest, create: Callable[[TextModel], Stream]) -> Stream:
        async with self.models.using(model, user) as served, aclosing(create(served)) as items:
            async for item in items:
                yield item
