"""Generation of answers: the query, reconnection, and the end of the stream."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from pellucid.client.assistant_protocol import Assistant
from pellucid.completion.answers import Answer, Answers, OnGrowth, UsableAnswer
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.explanation import Explanation, Journal
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.settings import CompletionSettings, SuggestionShape
from pellucid.completion.shaping.ghost_text import GhostText
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import TrimmedAnswer, join_texts
from pellucid.errors import PellucidError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import CompletionQuery, Priority, SamplingParams, Terms
from pellucid.vocabulary.token import Token

CLIENT_NAME = f"lsp-{os.getpid()}"
"""The process's name in request keys: the model server must recognise newer requests."""

MAX_ATTEMPTS = 3

PREFETCHED_LINES = 4


@dataclass(frozen=True)
class AnswerRequest:
    """A request for an answer at a cursor, with the ``generated`` first tokens.

    Requests for the same document with different values of ``part`` do not supersede each other.
    """

    parsed: ParsedCursor
    shape: SuggestionShape
    generated: tuple[Token, ...] = ()
    part: str = ""
    prefetch: bool = False

    @property
    def terms(self) -> Terms:
        """The priority, and the key by which a newer request supersedes this request."""
        if self.prefetch:
            return Terms(Priority.BACKGROUND, key=f"{CLIENT_NAME}:ahead")
        return Terms(Priority.COMPLETION, key=f"{CLIENT_NAME}:{self.parsed.document.uri}:{self.part}")


class AnswerGenerator:
    """Generator of answers with a single model; complete and partial answers go into the pool."""

    def __init__(
        self,
        settings: CompletionSettings,
        models: ModelChoice,
        context: PromptContext,
        answers: Answers,
        journal: Journal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._models = models
        self._context = context
        self._answers = answers
        self._journal = journal
        self._clock = clock

    async def generate(
        self, request: AnswerRequest, explanation: Explanation, on_growth: OnGrowth | None = None
    ) -> UsableAnswer:
        """Generate an answer. After a lost connection, continue after the received tokens."""
        provider = self._models.provider
        for attempt in range(1, MAX_ATTEMPTS + 1):
            stream = _Stream(request, explanation, self._settings.max_lines, self._answers, on_growth)
            client = await provider.client()
            explanation.lap("wait")
            try:
                trimmed = await self._complete(request, client, stream, explanation)
            except UnavailableError:
                provider.lost(client)
                if attempt == MAX_ATTEMPTS:
                    raise
                request = replace(request, generated=tuple(stream.tokens))
                continue
            finally:
                answer = stream.keep()  # The Finish has arrived only now.
            return UsableAnswer(answer, trimmed, stream.final)
        raise AssertionError("the last attempt returns or raises")

    async def prefill(self, cursor: DocumentCursor, *, prepared: bool = False) -> None:
        client = await self._models.provider.client()
        model = await self._models.find(client)
        prompt = self._context.prepared_prompt(cursor) if prepared else self._context.prompt(cursor)
        terms = Terms(Priority.BACKGROUND, key=f"{CLIENT_NAME}:prefill")
        extra = prompt.extra if model.files else ()
        params = SamplingParams(max_tokens=0)
        query = CompletionQuery(prompt.prefix, prompt.suffix, extra, params, model=model.name, terms=terms, heal=False)
        async with aclosing(client.complete(query)) as items:
            async for _ in items:
                pass

    async def _complete(
        self, request: AnswerRequest, client: Assistant, stream: _Stream, explanation: Explanation
    ) -> TrimmedAnswer:
        """Ask the model, and close the stream at the suggestion's end or after the time budget."""
        model = await self._models.find(client)
        stream.model = explanation.model = self._journal.model = model.name
        prompt = self._context.prompt(request.parsed.document)
        if not model.files:
            prompt = replace(prompt, extra=())
        explanation.prompt = prompt
        explanation.lap("context")
        if not stream.ghost.feed_all(request.generated):
            generated = join_texts(request.generated)
            query = CompletionQuery(
                prompt.prefix + generated,
                prompt.suffix,
                prompt.extra,
                SamplingParams(max_tokens=self._settings.max_tokens, top_logprobs=self._settings.alternatives),
                model=model.name,
                terms=request.terms,
                heal=False if generated else None,
            )
            early = await self._read(client.complete(query, on_usage=stream.note_usage), stream)
            explanation.lap("decode")
            if early is not None:
                return early
        stream.final = stream.ghost.ended or stream.complete
        return stream.ghost.finish(cut_off=stream.cut_off)

    async def _read(self, items: AsyncGenerator[Token | Finish], stream: _Stream) -> TrimmedAnswer | None:
        """Read tokens until the end of the suggestion or of the answer, and return None.

        After the time budget, return the complete lines. For a superseded answer, return an empty
        answer with the reason.
        """
        budget = self._settings.budget_ms
        deadline = self._clock() + budget / 1000 if budget and not stream.request.prefetch else float("inf")
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Finish):
                    stream.finish(item)
                    return TrimmedAnswer("", (), stream.superseded) if stream.superseded else None
                stream.add(item)
                if stream.ghost.ended:
                    return None
                if self._clock() > deadline and (early := stream.ghost.so_far()) is not None:
                    return early
        return None


class _Stream:
    """The state of a running answer; ``superseded`` is the reason for an end by a newer request."""

    def __init__(
        self,
        request: AnswerRequest,
        explanation: Explanation,
        max_lines: int,
        answers: Answers,
        on_growth: OnGrowth | None,
    ) -> None:
        self.request = request
        self.tokens = list(request.generated)
        self.ghost = GhostText(
            request.parsed, request.shape, max_lines=PREFETCHED_LINES if request.prefetch else max_lines
        )
        self.complete = False
        self.cut_off = False
        self.final = False
        self.superseded = ""
        self.model = ""
        self._explanation = explanation
        self._answers = answers
        self._on_growth = on_growth
        self._is_first_usage = True

    def keep(self) -> Answer:
        """Return the answer so far, and put a non-empty answer into the pool."""
        request, tokens = self.request, tuple(self.tokens)
        answer = Answer(
            request.parsed.document, tokens, request.shape, self.complete, self.model, request.prefetch, self.cut_off
        )
        return self._answers.keep(answer) if tokens else answer

    def add(self, token: Token) -> None:
        self.tokens.append(token)
        self.ghost.feed(token)
        answer = self.keep()
        if self._on_growth is not None:
            self._on_growth(answer)

    def note_usage(self, usage: Usage) -> None:
        self._explanation.usage = usage
        if self._is_first_usage:
            self._is_first_usage = False
            self._explanation.lap("prefill", other_stages={"queued": usage.queued * 1000})

    def finish(self, finish: Finish) -> None:
        self._explanation.usage = finish.usage
        if finish.reason is FinishReason.ERROR:
            raise PellucidError(finish.error or "The model server failed on this request: see its log.")
        if finish.reason is FinishReason.CANCELLED:
            raise UnavailableError("The model server is shutting down.")
        self.complete = finish.reason in (FinishReason.STOP, FinishReason.LENGTH)
        self.cut_off = finish.reason is FinishReason.LENGTH
        if finish.reason is FinishReason.SUPERSEDED:
            self.superseded = "a newer request took its place"
