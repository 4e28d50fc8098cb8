"""From a place to suggestions: what is known already, else what the model says, shaped, and as much of it as is sure."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from pellucid.errors import PellucidError, UnavailableError
from pellucid.tokens import Finish, FinishReason, Priority, SamplingParams, Terms, Token, Usage
from pellucid_lsp.branches import alternatives, forced
from pellucid_lsp.context import Context
from pellucid_lsp.ending import Ending
from pellucid_lsp.explanation import Explanation, Explanations, Outcome, Source
from pellucid_lsp.gate import Gate, judge, passed
from pellucid_lsp.ghost import Ghost, shape_of
from pellucid_lsp.recent import Answer, Found, Recent, after_typing
from pellucid_lsp.served import Served
from pellucid_lsp.settings import Level, Settings, Shape
from pellucid_lsp.suggestion import Place, Shaped, Suggestion, first

if TYPE_CHECKING:
    from pellucid_lsp.launch import Launcher

ATTEMPTS = 3
"""How often an answer is begun when the server goes away in the midst of it."""

AHEAD_LINES = 4
"""Lines that are generated ahead."""


NOTHING: Mapping[str, str] = {
    Ending.LINE: "The line is complete as it is.",
    Ending.SCOPE: "The block is complete as it is.",
    Ending.SUFFIX: "The answer only says what stands behind the cursor already.",
    Ending.ABOVE: "The answer only says the line above once more.",
    Ending.REPETITION: "The answer only repeats itself.",
    Ending.BLANK: "The answer is only white space.",
    Ending.STOP: "The model has nothing to say here.",
}
"""Why nothing of an answer is suggested, by its ending."""


@dataclass
class Counts:
    """What became of suggestions since the start."""

    shown: int = 0
    accepted: int = 0
    hidden: int = 0
    typed: int = 0


@dataclass
class _Request:
    """One answer that is asked for: where, in which shape, on what terms; ``said`` is its beginning, known already."""

    place: Place
    shape: Shape
    terms: Terms
    said: tuple[Token, ...] = ()
    ahead: bool = False


class Completer:
    """Answers for one editor. Cancelling a call ends its generation in the model server."""

    def __init__(
        self,
        settings: Settings,
        launcher: Callable[[], Launcher],
        context: Context,
        recent: Recent,
        *,
        gate: Gate = judge,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.explanations = Explanations()
        self.counts = Counts()
        self.latency: float | None = None
        """Milliseconds that the last suggestion of the model's took."""
        self.model = ""
        """What was completed with last."""
        self._settings = settings
        self._launcher = launcher
        self._context = context
        self.recent = recent
        self._gate = gate
        self._served = Served()
        self._clock = clock
        self._ids = count(1)
        self._name = f"lsp-{os.getpid()}-{id(self):x}"
        self._ahead: asyncio.Task[None] | None = None
        self._ahead_place: Place | None = None

    async def suggest(self, place: Place, *, invoked: bool = False) -> list[Suggestion]:
        """The suggestions at a place, the best first; several only when invoked. Raises a PellucidError where there can be none."""
        explanation = self.explanations.begin(place)
        try:
            suggestions = await self._suggest(place, invoked, explanation)
        except PellucidError as error:
            explanation.end(Outcome.FAILED, str(error))
            raise
        finally:
            explanation.stop()
        self.counts.shown += bool(suggestions)
        self.counts.hidden += explanation.outcome is Outcome.HIDDEN
        if suggestions and self._settings.completion.ahead:
            self._look_ahead(place, suggestions[0])
        return suggestions

    async def branch(self, suggestion: Suggestion, place: Place, index: int, alternative: int) -> Suggestion | None:
        """The suggestion up to token ``index``, then another alternative of that token, then what follows from it."""
        said = forced(suggestion.tokens, index, alternative)
        if said is None:
            return None
        explanation = self.explanations.begin(place)
        try:
            terms = self._terms(place, f"branch-{index}-{alternative}")
            answer, shaped = await self._answer(_Request(place, Shape.BLOCK, terms, said), explanation)
            return self._present(place, answer, shaped, explanation, None)
        finally:
            explanation.stop()

    async def prefill(self, place: Place) -> None:
        """Have the model read the prompt of a place, so that the next answer there begins at once."""
        prompt = self._context.prompt(place)
        client = await self._launcher().client()
        model = await self._served.find(client, self._settings.model)
        terms = Terms(Priority.BACKGROUND, key=f"{self._name}:prefill")
        extra = prompt.extra if model.files else ()
        params = SamplingParams(max_tokens=0)
        async with aclosing(
            client.complete(prompt.prefix, prompt.suffix, extra, params, model=model.name, terms=terms, heal=False)
        ) as items:
            async for _ in items:
                pass

    async def aclose(self) -> None:
        """Generate nothing any more."""
        await self._stop_ahead()

    async def _suggest(self, place: Place, invoked: bool, explanation: Explanation) -> list[Suggestion]:
        shape = explanation.shape = shape_of(place, self._settings.completion.shape, invoked=invoked)
        if not invoked and self._settings.completion.delay_ms:
            if self.recent.find(place) is None:
                await asyncio.sleep(self._settings.completion.delay_ms / 1000)
            explanation.lap("delay")
        answer, shaped = await self._find_or_ask(place, shape, explanation)
        best = self._present(place, answer, shaped, explanation, None if invoked else self._settings.completion.level)
        if not invoked or best is None:
            return [] if best is None else [best]
        others = await self._others(place, best)
        return [best, *others]

    async def _find_or_ask(self, place: Place, shape: Shape, explanation: Explanation) -> tuple[Answer, Shaped]:
        """What was said before and goes on here or, as far as that does not reach, what the model says."""
        await self._await_ahead(place)
        found = self.recent.find(place)
        said: tuple[Token, ...] = ()
        if found is not None:
            shaped = self._what_is_left(place, found) or self._shape(place, shape, found.tokens, complete=found.answer.complete)
            if shaped is not None:
                explanation.source = Source.AHEAD if found.answer.ahead and not found.typed else Source.RECENT
                explanation.model = found.answer.model
                self.counts.typed += bool(found.typed)
                explanation.lap("recent")
                return _rest_of(found, place, shape), shaped
            said = found.tokens
        explanation.source = Source.MODEL
        explanation.shape = shape
        await self._stop_ahead()
        result = await self._answer(_Request(place, shape, self._terms(place), said), explanation)
        self.latency = explanation.elapsed
        return result

    def _shape(self, place: Place, shape: Shape, tokens: Sequence[Token], *, complete: bool) -> Shaped | None:
        """What is suggested of tokens that are there, or None if more of them are needed to know."""
        ghost = Ghost(place, shape, max_lines=self._settings.completion.max_lines)
        return ghost.finish() if _feed(ghost, tokens) or complete else None

    def _what_is_left(self, place: Place, found: Found) -> Shaped | None:
        """The rest of what was suggested where the answer began, while its first line is typed: it stays what it is."""
        if not found.typed or "\n" in found.typed:
            return None
        began = replace(place, before=place.before[: len(place.before) - len(found.typed)], after=found.answer.place.after)
        whole = self._shape(began, found.answer.shape, found.answer.tokens, complete=found.answer.complete)
        if whole is None or len(whole.text) <= len(found.typed):
            return None
        length = min(len(whole.text) - len(found.typed), len(found.text))  # less where the editor has closed a bracket
        tokens = first(after_typing(whole.tokens, len(found.typed)), length)
        return Shaped("".join(token.text for token in tokens), tokens, whole.ending)

    async def _answer(self, request: _Request, explanation: Explanation) -> tuple[Answer, Shaped]:
        """What the model says; begun again where the server went away, from where it had come to."""
        said = request.said
        for attempt in range(1, ATTEMPTS + 1):
            stream = _Stream(request.place, said, explanation)
            try:
                shaped = await self._generate(replace(request, said=said), stream, explanation)
            except UnavailableError:
                self._launcher().lost()
                if attempt == ATTEMPTS:
                    raise
                said = tuple(stream.tokens)
                continue
            finally:
                answer = Answer(request.place, tuple(stream.tokens), request.shape, stream.complete, stream.model, request.ahead)
                if stream.tokens:
                    self.recent.keep(answer)
            return answer, shaped
        raise AssertionError("the last attempt returns or raises")

    async def _generate(self, request: _Request, stream: _Stream, explanation: Explanation) -> Shaped:
        """Ask the model and close the stream where the thought ends, or where the time for whole lines is over."""
        prompt = explanation.prompt = self._context.prompt(request.place)
        explanation.lap("context")
        client = await self._launcher().client()
        model = await self._served.find(client, self._settings.model)
        stream.model = explanation.model = self.model = model.name
        if not model.files:
            prompt = explanation.prompt = replace(prompt, extra=())
        explanation.lap("wait")
        ghost = self._ghost(request)
        if not _feed(ghost, request.said):
            said = "".join(token.text for token in request.said)
            items = client.complete(
                prompt.prefix + said,
                prompt.suffix,
                prompt.extra,
                SamplingParams(max_tokens=self._settings.completion.max_tokens, top_logprobs=self._settings.completion.alternatives),
                model=model.name,
                terms=request.terms,
                heal=False if said else None,
                on_usage=stream.note,
            )
            early = await self._listen(items, ghost, stream, request)
            explanation.lap("decode")
            if early is not None:
                return early
        return ghost.finish(cut_off=stream.cut_off)

    async def _listen(self, items: AsyncGenerator[Token | Finish], ghost: Ghost, stream: _Stream, request: _Request) -> Shaped | None:
        """Read tokens until the thought has ended, or nothing more comes; what there is, where the time is up before that."""
        budget = self._settings.completion.budget_ms
        late = self._clock() + budget / 1000 if budget and not request.ahead else float("inf")
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Finish):
                    stream.finish(item)
                    return Shaped("", (), "a newer request took its place") if stream.superseded else None
                stream.tokens.append(item)
                if _feed(ghost, [item]):
                    return None
                if self._clock() > late and (early := ghost.so_far()) is not None:
                    return early
        return None

    def _ghost(self, request: _Request) -> Ghost:
        return Ghost(request.place, request.shape, max_lines=AHEAD_LINES if request.ahead else self._settings.completion.max_lines)

    def _present(self, place: Place, answer: Answer, shaped: Shaped, explanation: Explanation, level: Level | None) -> Suggestion | None:
        """The suggestion that the gate lets through of an answer, or None; the explanation says why.

        Without a level all of it passes: it was asked for by hand.
        """
        explanation.answer, explanation.ending, explanation.level = answer.text, shaped.ending, level
        if not shaped.text:
            explanation.end(Outcome.NOTHING, NOTHING.get(shaped.ending, f"There is nothing to suggest: {shaped.ending}."))
            return None
        verdict = explanation.verdict = self._gate(shaped.tokens, level) if level else passed(shaped.tokens)
        text = shaped.text[: verdict.length]
        explanation.lap("gate")
        if not text:
            explanation.end(Outcome.HIDDEN, verdict.reason)
            return None
        if level and self.recent.is_dismissed(place, text):
            explanation.end(Outcome.HIDDEN, "It was dismissed at this place before.")
            return None
        suggestion = Suggestion(f"{self._name}-{next(self._ids)}", place, text, first(shaped.tokens, len(text)), answer.model, answer.shape)
        self.recent.add(suggestion)
        self.explanations.name(explanation, suggestion.id)
        explanation.shown = text
        explanation.end(Outcome.SHOWN if len(text) == len(shaped.text) else Outcome.SHORTENED, verdict.reason)
        return suggestion

    async def _others(self, place: Place, best: Suggestion) -> list[Suggestion]:
        """More suggestions: from the most probable alternatives to the best one's tokens, in one batch."""
        choices = sorted(alternatives(best.tokens), reverse=True)[: self._settings.completion.candidates - 1]
        requests = [
            (_Request(place, best.shape, self._terms(place, f"candidate-{number}"), said), Explanation(place.uri))
            for number, (_, index, alternative) in enumerate(choices)
            if (said := forced(best.tokens, index, alternative)) is not None
        ]
        asked = (self._answer(request, explanation) for request, explanation in requests)
        answers = await asyncio.gather(*asked, return_exceptions=True)  # all have ended when one has failed
        others: dict[str, Suggestion] = {}
        for result, (_, explanation) in zip(answers, requests, strict=True):
            if isinstance(result, BaseException):
                raise result
            suggestion = self._present(place, *result, explanation, None)
            if suggestion is not None and suggestion.text != best.text:
                others.setdefault(suggestion.text, suggestion)
        return list(others.values())

    def _terms(self, place: Place, part: str = "") -> Terms:
        return Terms(Priority.COMPLETION, key=f"{self._name}:{place.uri}:{part}")

    def _look_ahead(self, place: Place, suggestion: Suggestion) -> None:
        """Generate what follows a suggestion while it is shown."""
        target = replace(place, before=place.before + suggestion.text)
        if self._ahead is not None and not self._ahead.done() and self._ahead_place == target:
            return
        found = self.recent.find(target)
        if found is not None and found.text.strip():
            return
        self._ahead_place = target
        said = () if found is None else found.tokens
        previous, self._ahead = self._ahead, asyncio.create_task(self._generate_ahead(target, said, self._ahead))
        if previous is not None:
            previous.cancel()

    async def _generate_ahead(self, place: Place, said: tuple[Token, ...], previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        terms = Terms(Priority.BACKGROUND, key=f"{self._name}:ahead")
        request = _Request(place, Shape.BLOCK if not place.right.strip() else Shape.LINE, terms, said, ahead=True)
        try:
            await self._answer(request, Explanation(place.uri))
        except PellucidError:
            return  # nobody asked for it; whoever asks next is told

    async def _await_ahead(self, place: Place) -> None:
        """Let what is being generated ahead for this very place come to its end."""
        if self._ahead is not None and self._ahead_place == place:
            await asyncio.wait([self._ahead])

    async def _stop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.wait([self._ahead])
            self._ahead = self._ahead_place = None


class _Stream:
    """What has come of an answer so far."""

    def __init__(self, place: Place, said: Sequence[Token], explanation: Explanation) -> None:
        self.place = place
        self.tokens = list(said)
        self.complete = False
        self.cut_off = False
        self.superseded = False
        self.model = ""
        self._explanation = explanation
        self._first = True

    def note(self, usage: Usage) -> None:
        """What it has cost so far."""
        self._explanation.usage = usage
        if self._first:
            self._first = False
            self._explanation.milliseconds["queued"] = usage.queued * 1000
            self._explanation.lap("prefill")

    def finish(self, finish: Finish) -> None:
        """The model has ended, or was ended."""
        self._explanation.usage = finish.usage
        if finish.reason is FinishReason.ERROR:
            raise PellucidError(finish.error or "The model server failed on this request.")
        self.complete = finish.reason in (FinishReason.STOP, FinishReason.LENGTH)
        self.cut_off = finish.reason is FinishReason.LENGTH
        self.superseded = finish.reason in (FinishReason.SUPERSEDED, FinishReason.CANCELLED)


def _feed(ghost: Ghost, tokens: Iterable[Token]) -> bool:
    """Feed tokens as far as they are wanted; whether the thought has ended."""
    for token in tokens:
        ghost.feed(token)
        if ghost.ended:
            break
    return ghost.ended


def _rest_of(found: Found, place: Place, shape: Shape) -> Answer:
    return replace(found.answer, place=place, tokens=found.tokens, shape=shape)
