"""Generates answers: asks the model, reconnects if the server goes away, and closes the stream where the suggestion ends."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from pellucid.client.assistant_protocol import Assistant
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.explanation import Explanation, Journal
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import ModelProvider
from pellucid.completion.recent_answers import RecentAnswer, RecentAnswers
from pellucid.completion.settings import CompletionSettings, SuggestionShape
from pellucid.completion.shaping.ghost_text import GhostText
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import DocumentCursor, TrimmedAnswer, join_texts
from pellucid.errors import PellucidError, UnavailableError
from pellucid.tokens import CompletionQuery, Finish, FinishReason, Priority, SamplingParams, Terms, Token, Usage

CLIENT_NAME = f"lsp-{os.getpid()}"
"""The name in the keys of this process's requests, by which the model server recognises a newer
request of the same editor.
"""

MAX_ATTEMPTS = 3
"""The most attempts at an answer if the server goes away while it answers."""

PREFETCHED_LINES = 4
"""The most lines of a prefetched answer."""

OnGrowth = Callable[[RecentAnswer], None]
"""Gets the answer so far, whenever a token is added to it."""


@dataclass(frozen=True)
class AnswerRequest:
    """A request for an answer at a cursor. ``generated`` are tokens of it that are known already.

    Requests for the same document with different values of ``part`` do not supersede each other.
    """

    parsed: ParsedCursor
    shape: SuggestionShape
    generated: tuple[Token, ...] = ()
    part: str = ""
    prefetch: bool = False

    @property
    def terms(self) -> Terms:
        """The priority of the request, and the key by which a newer one supersedes it."""
        if self.prefetch:
            return Terms(Priority.BACKGROUND, key=f"{CLIENT_NAME}:ahead")
        return Terms(Priority.COMPLETION, key=f"{CLIENT_NAME}:{self.parsed.document.uri}:{self.part}")


@dataclass(frozen=True, slots=True)
class UsableAnswer:
    """An answer and the part of it that is suggested.

    ``final``: more tokens would not change that part.
    """

    answer: RecentAnswer
    trimmed: TrimmedAnswer
    final: bool


class AnswerGenerator:
    """Generates answers with one model, and remembers them, complete or not."""

    def __init__(
        self,
        settings: CompletionSettings,
        model: str,
        provider: Callable[[], ModelProvider],
        models: ModelChoice,
        context: PromptContext,
        recent: RecentAnswers,
        journal: Journal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._model = model
        self._provider = provider
        self._models = models
        self._context = context
        self._recent = recent
        self._journal = journal
        self._clock = clock

    async def generate(
        self, request: AnswerRequest, explanation: Explanation, on_growth: OnGrowth | None = None
    ) -> UsableAnswer:
        """Generate an answer.

        If the server goes away, ask again for what follows the tokens that it has sent.
        """
        provider = self._provider()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            stream = _Stream(request, explanation, self._settings.max_lines, on_growth)
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
                answer = stream.answer
                if stream.tokens:
                    answer = self._recent.keep(answer)
            return UsableAnswer(answer, trimmed, stream.final)
        raise AssertionError("the last attempt returns or raises")

    async def prefill(self, cursor: DocumentCursor) -> None:
        """Have the model read the prompt at a cursor, so that the next answer there begins at once."""
        client = await self._provider().client()
        model = await self._models.find(client, self._model)
        prompt = self._context.prompt(cursor)
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
        """Ask the model, and close the stream where the suggestion ends or when the time budget is used up."""
        model = await self._models.find(client, self._model)
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
        """Read tokens until the suggestion or the answer ends: None.

        Return the complete lines if the time budget ends before.
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
    """The state of an answer that is being generated.

    ``superseded`` is the reason if it is no longer needed, else empty.
    """

    def __init__(
        self, request: AnswerRequest, explanation: Explanation, max_lines: int, on_growth: OnGrowth | None = None
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
        self._on_growth = on_growth
        self._is_first_usage = True

    @property
    def answer(self) -> RecentAnswer:
        """The answer so far."""
        request = self.request
        document, tokens = request.parsed.document, tuple(self.tokens)
        return RecentAnswer(document, tokens, request.shape, self.complete, self.model, request.prefetch, self.cut_off)

    def add(self, token: Token) -> None:
        """Add a token that the model generated."""
        self.tokens.append(token)
        self.ghost.feed(token)
        if self._on_growth is not None:
            self._on_growth(self.answer)

    def note_usage(self, usage: Usage) -> None:
        """Record the usage so far."""
        self._explanation.usage = usage
        if self._is_first_usage:
            self._is_first_usage = False
            self._explanation.lap("prefill", other_stages={"queued": usage.queued * 1000})

    def finish(self, finish: Finish) -> None:
        """Record how the model ended its answer. Raise the error that ended it, if one did."""
        self._explanation.usage = finish.usage
        if finish.reason is FinishReason.ERROR:
            raise PellucidError(finish.error or "The model server failed on this request: see its log.")
        if finish.reason is FinishReason.CANCELLED:
            raise UnavailableError("The model server is shutting down.")
        self.complete = finish.reason in (FinishReason.STOP, FinishReason.LENGTH)
        self.cut_off = finish.reason is FinishReason.LENGTH
        if finish.reason is FinishReason.SUPERSEDED:
            self.superseded = "a newer request took its place"
