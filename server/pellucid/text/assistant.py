"""Completion, chat and scoring with the models of an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import TypeVar

from pellucid.client.assistant_protocol import SumsScores
from pellucid.door.users import CurrentRequest, current_request
from pellucid.engine.port import Engine
from pellucid.engine.request import Admission, Constraint, Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import InvalidRequestError, unknown_model
from pellucid.models.calibrations import CalibrationFile
from pellucid.models.served_model import ServedModel
from pellucid.text.detokenizer import Detokenizer, decode
from pellucid.text.embedding import embed
from pellucid.text.healing import Healing
from pellucid.text.margin_stop import MarginStop
from pellucid.text.model_with_tokenizer import TextModel, run_in_thread, run_template, run_tokenizer
from pellucid.text.prompts import (
    CHARACTERS_PER_TOKEN,
    HUGE_TEXT_CHARACTERS,
    Tools,
    chat_characters,
    infill,
    refuse_huge,
    refuse_longer,
    surroundings,
    with_bos,
)
from pellucid.text.score_windows import RequestKeys, score_windows
from pellucid.text.spelled_infill import SpelledInfill, read_spelled_infill
from pellucid.text.stopping import EndingRule, StopGate, StopStrings
from pellucid.text.structured.grammar_constraint import GrammarConstraint
from pellucid.text.structured.json_fields import json_fields
from pellucid.text.suffix_stop import SuffixStop
from pellucid.text.tool_calls.call_constraint import CallConstraint
from pellucid.text.tool_calls.call_reader import CallReader
from pellucid.text.usage_meter import UsageMeter, first_difference
from pellucid.vocabulary.finish import Embedding, Finish, FinishReason, OnUsage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, Grammar, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token

T = TypeVar("T")

MAX_BIAS_CHARACTERS = 2**14
"""Maximum total length of the texts in ``logit_bias``."""

NO_ANSWER = SamplingParams(max_tokens=0)

Stream = AsyncGenerator[Token | Finish]
"""Tokens, then one Finish. Closing the generator cancels the request."""


@dataclass(frozen=True, slots=True)
class _Generation:
    """A request to the engine, and the objects that turn its token ids into text."""

    model: str
    request: Request
    detokenizer: Detokenizer
    gate: StopGate
    calls: CallReader | None = None
    loose_functions: tuple[str, ...] = ()
    form_field: str = "grammar"


class LocalAssistant(SumsScores):
    """An implementation of ``Assistant`` with an engine; the first model is the default.

    A stream belongs to the request that is current when the stream is created. Synchronous methods
    that tokenize must be called through ``off_loop``.
    """

    def __init__(self, engine: Engine, models: Sequence[ServedModel]) -> None:
        assert models, "an assistant needs a model"
        self._engine = engine
        self._keys = RequestKeys()
        self._served: dict[str, TextModel] = {}
        self._unloaded: dict[str, str] = {}  # Unloaded models with an adapter -> base models.
        for model in sorted(
            models, key=lambda model: model.base is not None
        ):  # Bases first, because models with an adapter share parts of the base.
            self._served[model.name] = self._prepared(model)
        self._served = {model.name: self._served[model.name] for model in models}

    async def add(self, model: ServedModel) -> None:
        self._served[model.name] = await asyncio.to_thread(self._prepared, model)

    def remove(self, model: str) -> Future[None]:
        """Accept no new requests for a model with an adapter.

        The future is done after the last answer. Raises NotFoundError for an unknown model, and
        InvalidRequestError for a model without an adapter.
        """
        served = self._find(model).model
        if served.base is None:
            raise InvalidRequestError(
                f"{served.name} has no adapter: only models with an adapter can be unloaded.", param="model"
            )
        removed = self._engine.remove_model(served.name)
        self._unloaded[served.name] = served.base
        del self._served[served.name]
        return removed

    def served(self) -> list[ServedModel]:
        return [served.model for served in [*self._served.values()]]

    def device(self) -> str:
        return self._find(None).model.facts.device

    def complete(
        self, query: CompletionQuery, *, endings: Sequence[EndingRule] = (), on_usage: OnUsage | None = None
    ) -> Stream:
        """Continue a text or token ids, or, with a suffix (also ""), fill in the gap.

        An infill without a grammar also ends before a repetition of the suffix and, at the end of a
        file, at the end of the cursor's block. Long infill prompts are trimmed; other long prompts
        raise ContextLengthError.
        """
        user, prepare = current_request(), partial(self._prepare_completion, query, endings)
        return self._with_fields(self._generate(prepare, query.terms.key, on_usage, user), query, user.cache_salt)

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> Stream:
        user, prepare = current_request(), partial(self._prepare_chat, query)
        return self._with_fields(self._generate(prepare, query.terms.key, on_usage, user), query, user.cache_salt)

    def score(self, query: ScoreQuery) -> Stream:
        """Score a text, ids or a conversation: yield every token, markers included.

        A BOS that the model needs is the first token, without text.
        """
        return self._score(query, current_request())

    async def _score(self, query: ScoreQuery, user: CurrentRequest) -> Stream:
        served, text = self._find(query.model), query.text
        user.begin(query.terms.key)
        size = sum(item.characters if isinstance(item, Message) else 1 for item in text)
        if query.windows and not isinstance(next(iter(text), None), int):
            refuse_huge(size, "text")
        context = None if query.windows else self._engine.context(served.name)
        read, has_bos, begin = partial(served.read, query, context), False, 0
        if query.gap is not None:
            _check(served, query.gap)
            ids, begin = await run_tokenizer(
                served, size + _size(query.gap), partial(self._filled_gap, served, query.gap, text, context)
            )
        elif query.continued:
            size += chat_characters(query.continued, query.tools)
            ids, begin = await run_template(served, size, partial(_continuation, served, query, context))
        elif any(isinstance(item, Message) for item in text):
            ids, has_bos = await run_template(served, size, read)
        else:
            ids, has_bos = await run_tokenizer(served, size, read)
        if len(ids) == begin + has_bos:
            raise InvalidRequestError("There is nothing to score: send at least one token of text.", param="input")
        params = SamplingParams(max_tokens=0, top_logprobs=query.top_logprobs)
        request = Request(ids, params, query.terms, score_from=begin, cache_salt=user.cache_salt)
        detokenizer = Detokenizer(served.tokenizer, strip_space=served.tokenizer.prefix_space, show_markers=True)
        async with aclosing(self._scores(served, request, user, has_bos=has_bos, windows=query.windows)) as items:
            async for item in items:
                if isinstance(item, Finish):
                    if item.reason is FinishReason.SUPERSEDED:
                        user.end_superseded(query.terms.key)
                    for token in detokenizer.flush():
                        yield token
                    yield (replace(item, reason=FinishReason.STOP) if item.reason is FinishReason.LENGTH else item)
                else:
                    for token in detokenizer.feed(item):
                        yield replace(token, text="") if has_bos and token.position == 0 else token

    async def _scores(
        self, served: TextModel, request: Request, user: CurrentRequest, *, has_bos: bool, windows: bool
    ) -> AsyncGenerator[TokenScore | Finish]:
        items: AsyncGenerator[Admission | TokenScore | Finish]
        with self._keys.hold(request.terms.key) as is_newest:
            if windows and len(request.prompt) > self._engine.context(served.name):
                served.check_ids(request.prompt)  # Otherwise a window would be checked only when it is read.
                items = score_windows(
                    self._engine, served.name, request, has_bos=has_bos, is_newest=is_newest, on_read=user.read
                )
            else:
                items = self._engine.generate(served.name, request)
            async with aclosing(items):
                async for item in items:
                    if isinstance(item, Admission):
                        user.read(item.cached, len(request.prompt) - item.cached)
                    else:
                        yield item

    async def embed(self, text: str | Sequence[int], model: str | None = None, *, truncate: bool = False) -> Embedding:
        return await embed(self._engine, self._find(model), text, truncate=truncate)

    def embedding_size(self, model: str | None = None) -> int:
        """Return the length of embeddings. Raises NotSupportedError without hidden states."""
        return self._engine.hidden_size(self._find(model).name)

    def uses_predictions(self, model: str | None = None) -> bool:
        return self._engine.uses_predictions(self._find(model).name)

    def name_of(self, model: str | None) -> str:
        """Return the full name of a model (default: the first model). Raises NotFoundError."""
        return self._find(model).name

    def spelled_infill(self, prompt: str, model: str) -> SpelledInfill | None:
        format = self._find(model).model.infill
        return None if format is None else read_spelled_infill(prompt, format)

    def models(self) -> list[ModelCard]:
        return [served.card(self._engine.context(name)) for name, served in [*self._served.items()]]

    async def cards(self) -> list[ModelCard]:
        return self.models()

    def calibration_file(self, model: str | None = None) -> CalibrationFile | None:
        """Return the calibration file of a model, or None for a model from outside a store."""
        return self._find(model).model.calibration

    async def render(
        self, messages: Sequence[Message], model: str | None = None, *, continue_last: bool = False, tools: Tools = ()
    ) -> str:
        served = self._reader(model)
        render = partial(served.template.render, messages, continue_last=continue_last, tools=tools)
        return await run_template(served, chat_characters(messages, tools), render)

    async def off_loop(
        self, work: Callable[[], T], model: str | None = None, longest_wait: float | None = None, *, size: int = 0
    ) -> T:
        """Run ``work`` with a model's tokenizer without blocking the event loop or further models.

        ``size`` is the number of characters to tokenize. Raises QueueFullError if a tokenizer in a
        separate process is busy for more than ``longest_wait`` seconds.
        """
        served = self._reader(model)
        return await (served.thread.run(work, longest_wait) if served.tokenizer.apart else run_in_thread(size, work))

    def tokenize(
        self, text: str, model: str | None = None, *, special: bool = False, add_special: bool = False
    ) -> list[int]:
        """Return the ids of a text; ``special`` parses markers, ``add_special`` adds the BOS."""
        tokenizer = self._reader(model).tokenizer
        ids = tokenizer.encode(text, special=special)
        return with_bos(tokenizer, ids) if add_special else ids

    def token_bytes(self, id: int, model: str | None = None) -> bytes:
        return self._reader(model).tokenizer.token_bytes(id)

    async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
        """Return the ids of a text, after the BOS if the model needs a BOS."""
        served = self._find(model)
        return await run_tokenizer(served, len(text), lambda: served.encode(text, special=False))

    def detokenize(self, ids: Sequence[int], model: str | None = None) -> str:
        """Return the text of ids, with markers. Raises InvalidRequestError for an unknown id."""
        served = self._reader(model)
        served.check_ids(ids)
        return decode(served.tokenizer, ids)

    def prompt_ids(self, query: CompletionQuery) -> list[int]:
        served = self._reader(query.model)
        if not isinstance(query.prefix, str):
            return list(query.prefix)
        if query.suffix is None:
            return served.encode(query.prefix, special=query.special)
        return self._infill(served, query, heal=False)[0]

    async def chat_ids(self, query: ChatQuery) -> list[int]:
        refuse_huge(chat_characters(query.messages, query.shown_tools), "messages")
        return await self._chat_ids(self._find(query.model), query, None)

    async def _chat_ids(self, served: TextModel, query: ChatQuery, context: int | None) -> list[int]:
        tools = query.shown_tools
        encode = partial(
            served.template.encode, query.messages, continue_last=query.continue_last, tools=tools, context=context
        )
        return await run_template(served, chat_characters(query.messages, tools), encode)

    def prompt_text(self, query: CompletionQuery) -> str:
        """Return a plain text unchanged, or the decoded prompt of an infill or ids."""
        if isinstance(query.prefix, str) and query.suffix is None:
            return query.prefix
        return self.detokenize(self.prompt_ids(query), query.model)

    async def infill_prompt(self, query: CompletionQuery) -> str:
        """Return the decoded prompt of an infill, without room for an answer.

        Further files are omitted for a model without a file marker.
        """
        served = self._find(query.model)
        shown = replace(
            query, suffix=query.suffix or "", extra=query.extra if served.takes_files else (), params=NO_ANSWER
        )
        return await run_tokenizer(served, _size(shown), partial(self.prompt_text, shown))

    def token_biases(self, pairs: Iterable[tuple[int | str, float]], model: str | None = None) -> dict[int, float]:
        """Return the biases by token id; a text's bias applies to each token of the text.

        The last bias of a token counts.
        """
        tokenizer = self._reader(model).tokenizer
        biases: dict[int, float] = {}
        pairs = list(pairs)
        if (size := sum(len(what) for what, _ in pairs if isinstance(what, str))) > MAX_BIAS_CHARACTERS:
            sentence = (
                f"The texts in logit_bias have {size} characters, but at most {MAX_BIAS_CHARACTERS} are allowed: "
                "use shorter texts."
            )
            raise InvalidRequestError(sentence, param="logit_bias")
        for what, bias in pairs:
            biases.update(
                dict.fromkeys([what] if isinstance(what, int) else tokenizer.encode(what, special=True), bias)
            )
        return biases

    def _with_fields(self, stream: Stream, query: CompletionQuery | ChatQuery, cache_salt: str) -> Stream:
        grammar = query.grammar
        if not (query.with_fields and grammar and grammar.is_json):
            return stream
        return self._finished_with_fields(stream, grammar, query.model, cache_salt)

    async def _finished_with_fields(
        self, stream: Stream, grammar: Grammar, model: str | None, cache_salt: str
    ) -> Stream:
        tokens: list[Token] = []
        async with aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Token):
                    tokens.append(item)
                    yield item
                else:
                    matcher = await self._reader(model).grammars.matcher(grammar, cache_salt)
                    yield replace(item, fields=tuple(await asyncio.to_thread(json_fields, tokens, matcher)))

    def _find(self, model: str | None) -> TextModel:
        if model is None:
            return next(iter(self._served.values()))
        served = self._served.get(model)
        if served is None:  # The adapter's own name is enough for a single match.
            named = [
                other for other in [*self._served.values()] if other.model.adapter and other.model.adapter.name == model
            ]
            if len(named) != 1:
                raise unknown_model(model, self._served)
            served = named[0]
        return served

    def _reader(self, model: str | None) -> TextModel:
        """Return the model with the right tokenizer, also after the adapter was unloaded."""
        return self._find(model if model is None or model in self._served else self._unloaded.get(model, model))

    def _prepared(self, model: ServedModel) -> TextModel:
        return TextModel(model, None if model.base is None else self._served[model.base])

    def _infill(self, served: TextModel, query: CompletionQuery, *, heal: bool) -> tuple[list[int], Healing | None]:
        """Return the ids of an infill, with at least half of the context, and the healing."""
        assert isinstance(query.prefix, str)
        context = self._engine.context(served.name)
        budget = max(context - query.params.max_tokens, context // 2) - 1
        format = served.model.infill
        around = surroundings(
            served.tokenizer, format, query.prefix, query.suffix or "", query.extra, budget, query.window
        )
        healing = None
        if heal:
            shortened, healing = served.healer.heal(around.prefix, keep=1 if format is None else 0)
            around = replace(around, prefix=shortened)
        return infill(served.tokenizer, format, around), healing

    def _filled_gap(
        self, served: TextModel, gap: CompletionQuery, text: str | Sequence[object], context: int | None
    ) -> tuple[list[int], int]:
        """Return the ids of a prompt and of ``text`` in its gap, and the index of the text."""
        if not isinstance(text, str) or (gap.suffix is None and not gap.special):
            raise InvalidRequestError("Only a text can be read between a prefix and a suffix.", param="text")
        refuse_longer(served.tokenizer, [text], context)
        if gap.suffix is None:
            assert isinstance(gap.prefix, str)
            refuse_longer(served.tokenizer, [gap.prefix], context)
            prefix = served.encode(gap.prefix, special=True)
            return prefix + served.tokenizer.encode(text, special=True, continues=True), len(prefix)
        filling = served.tokenizer.encode(text, continues=True)
        prompt, _ = self._infill(served, replace(gap, params=replace(NO_ANSWER, max_tokens=len(filling))), heal=False)
        return prompt + filling, len(prompt)

    async def _prepare_completion(
        self, query: CompletionQuery, endings: Sequence[EndingRule], cache_salt: str
    ) -> _Generation:
        served = self._find(query.model)
        _check(served, query)
        _check_grammar(query)
        tokenizer = served.tokenizer
        healing: Healing | None = None
        stop_ids = tokenizer.eos_ids
        endings = [*endings, StopStrings(query.stop)]
        if not isinstance(query.prefix, str):
            ids = list(query.prefix)
        elif query.suffix is None:
            encode = partial(
                served.encode, query.prefix, special=query.special, context=self._engine.context(served.name)
            )
            ids = await run_tokenizer(served, len(query.prefix), encode)
            if query.heal and query.grammar is None:
                ids, healing = served.healer.heal(ids, keep=1)
        else:
            heal = query.heal is not False and query.grammar is None
            ids, healing = await run_tokenizer(served, _size(query), partial(self._infill, served, query, heal=heal))
            if query.grammar is None:  # A grammar would decide on the end of the answer.
                stop_ids = stop_ids | served.markers
                endings += [SuffixStop(query.prefix, query.suffix), MarginStop(query.prefix, query.suffix)]
        gate, params = StopGate(endings), query.params
        if healing is not None and params.max_tokens:  # Repeated tokens of the prompt do not belong to the answer.
            gate.limit = params.max_tokens
            params = replace(params, max_tokens=params.max_tokens + healing.steps)
        constraint = healing if query.grammar is None else await served.grammars.constraint(query.grammar, cache_salt)
        strip_space = query.prefix == "" and query.grammar is None and tokenizer.prefix_space
        detokenizer = Detokenizer(tokenizer, strip_space=strip_space, typed=healing.typed if healing else b"")
        request = Request(
            ids, params, query.terms, stop_ids, constraint=constraint, session=query.terms.key, cache_salt=cache_salt
        )
        return _Generation(
            served.name, request, detokenizer, gate, form_field=query.grammar.field if query.grammar else ""
        )

    async def _prepare_chat(self, query: ChatQuery, cache_salt: str) -> _Generation:
        if query.tool_choice not in ("auto", "none") and not query.tools:
            raise InvalidRequestError(
                "tool_choice demands a call, but there are no tools: send some, or omit it.", param="tool_choice"
            )
        served = self._find(query.model)
        _check_grammar(query)
        context, tokenizer = self._engine.context(served.name), served.tokenizer
        ids = await self._chat_ids(served, query, context)
        calls = served.call_reader(query, ids)
        constraint: Constraint | None = None
        loose: frozenset[str] = frozenset()
        if query.grammar is not None:
            constraint = await served.grammars.constraint(query.grammar, cache_salt)
        elif calls is not None:
            constraint, loose = await served.call_constraints.constraint(query, cache_salt)
        strip_space = not query.continue_last and query.grammar is None and tokenizer.prefix_space
        detokenizer = Detokenizer(tokenizer, strip_space=strip_space)
        session = _conversation(query.messages)
        request = Request(
            ids,
            query.params,
            query.terms,
            tokenizer.eos_ids,
            constraint=constraint,
            session=session,
            cache_salt=cache_salt,
        )
        if query.prediction and self.uses_predictions(query.model):
            prediction = query.prediction[: context * CHARACTERS_PER_TOKEN]
            predicted = await run_tokenizer(
                served, len(prediction), partial(tokenizer.encode, prediction, continues=True)
            )
            request = replace(request, prediction=predicted[:context])  # No answer is longer.
        return _Generation(
            served.name,
            request,
            detokenizer,
            StopGate([StopStrings(query.stop)]),
            calls,
            tuple(sorted(loose)),
            "tools" if query.grammar is None else query.grammar.field,
        )

    async def _generate(
        self,
        prepare: Callable[[str], Awaitable[_Generation]],
        key: str | None,
        on_usage: OnUsage | None,
        user: CurrentRequest,
    ) -> Stream:
        user.begin(key)
        generation = await prepare(user.cache_salt)
        detokenizer, gate, calls = generation.detokenizer, generation.gate, generation.calls
        under_grammar = isinstance(generation.request.constraint, GrammarConstraint)
        meter = UsageMeter(len(generation.request.prompt), len(generation.request.prediction))
        with self._keys.hold(generation.request.terms.key):
            async with aclosing(self._engine.generate(generation.model, generation.request)) as items:
                async for item in items:
                    if isinstance(item, TokenScore):
                        meter.count(item)
                        user.generate()
                        if on_usage is not None:
                            on_usage(meter.usage())
                        tokens = detokenizer.feed(item)
                        for token in gate.feed(tokens if calls is None else calls.feed(tokens)):
                            yield token
                        if gate.reason is not None or (calls is not None and calls.closed):
                            break
                    elif isinstance(item, Finish):
                        # Remote engines report only here how many tokens were cached.
                        more = max(item.usage.cached - meter.cached, 0)
                        user.read(more, -more)
                        if item.reason is FinishReason.SUPERSEDED:
                            user.end_superseded(key)
                        _check_form(item, generation)
                        tokens = detokenizer.flush()
                        for token in [
                            *gate.feed(tokens if calls is None else [*calls.feed(tokens), *calls.finish()]),
                            *gate.finish(),
                        ]:
                            yield token
                        if under_grammar:
                            item = replace(item, complete=gate.reason is None and item.reason is FinishReason.STOP)
                        finish = item if gate.reason is None else replace(item, reason=gate.reason, stop=gate.stop)
                        yield self._detailed(finish, generation)
                        return
                    else:
                        meter.admit(item)
                        user.read(item.cached, len(generation.request.prompt) - item.cached)
        for token in gate.finish():
            yield token
        finish = Finish(
            gate.reason or FinishReason.STOP, meter.usage(), gate.stop, complete=False if under_grammar else None
        )
        yield self._detailed(finish, generation)

    def _detailed(self, finish: Finish, generation: _Generation) -> Finish:
        difference = first_difference(finish.usage, generation.request.prompt, self._reader(generation.model).tokenizer)
        return replace(finish, first_difference=difference, loose_functions=generation.loose_functions)


def _continuation(served: TextModel, query: ScoreQuery, context: int | None) -> tuple[list[int], int]:
    """Return the ids of a conversation and of the continuing text, and the index of the text."""
    if not isinstance(query.text, str):
        raise InvalidRequestError("Only a text can continue a message.", param="text")
    refuse_longer(served.tokenizer, [query.text], context)
    prompt = served.template.encode(query.continued, continue_last=True, tools=query.tools, context=context)
    return prompt + served.tokenizer.encode(query.text, continues=True), len(prompt)


def _check_form(finish: Finish, generation: _Generation) -> None:
    constraint = generation.request.constraint
    if (
        finish.reason is FinishReason.ERROR
        and isinstance(constraint, GrammarConstraint | CallConstraint)
        and constraint.failure
    ):
        field = generation.form_field
        raise InvalidRequestError(
            f"{field} asks for a form that the answer cannot keep to: {constraint.failure}.", param=field
        )


def _check(served: TextModel, query: CompletionQuery) -> None:
    if not isinstance(query.prefix, str) and (query.suffix is not None or query.heal or query.special):
        raise InvalidRequestError("suffix, heal and special need a prompt of text, not of token ids.", param="prompt")
    if query.suffix is None:
        if query.extra:
            raise InvalidRequestError(
                "Text of other files is only for infills: send a suffix too, which may be empty.", param="input_extra"
            )
        return
    if query.special:
        raise InvalidRequestError("Special tokens are not parsed in infills: omit special.", param="special")
    if query.extra and not served.takes_files:
        raise InvalidRequestError(f"{served.name} has no marker for other files: omit their text.", param="input_extra")


def _check_grammar(query: CompletionQuery | ChatQuery) -> None:
    if query.grammar is None:
        return
    if query.params.ignore_eos:
        raise InvalidRequestError(
            "ignore_eos is not supported together with a grammar, which decides where the answer ends.", "ignore_eos"
        )
    if isinstance(query, ChatQuery) and query.shown_tools:
        raise InvalidRequestError(
            f"tools are not supported together with {query.grammar.field}: send only one of them.", param="tools"
        )
    if isinstance(query, CompletionQuery) and query.heal:
        raise InvalidRequestError("Token healing is not supported together with a grammar: omit heal.", param="heal")


def _conversation(messages: Sequence[Message]) -> str:
    """Return a key for all turns of a conversation: a hash up to the user's first message."""
    first = next((index for index, message in enumerate(messages) if message.role == "user"), 0)
    beginning = repr([(message.role, message.content) for message in messages[: first + 1]])
    return blake2b(beginning.encode(), digest_size=8).hexdigest()


def _size(query: CompletionQuery) -> int:
    """Return an upper bound of the characters to tokenize: long texts are trimmed first."""
    size = len(query.prefix) + len(query.suffix or "") + sum(len(chunk.text) for chunk in query.extra)
    return min(size, HUGE_TEXT_CHARACTERS)
