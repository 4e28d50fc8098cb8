"""From a place to suggestions: what is known already, else what the model says, shaped, and as much of it as is sure."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count

from pellucid.client.protocol import Assistant
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.explanation import AnswerSource, Decision, Explanation, Journal, explanation_of
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider import ModelProvider
from pellucid.completion.prefetch import Prefetch
from pellucid.completion.recent_answers import ContinuedAnswer, RecentAnswer, RecentAnswers, after_typing
from pellucid.completion.settings import CompletionSettings, GateLevel, SuggestionShape
from pellucid.completion.shaping.branches import alternatives, forced
from pellucid.completion.shaping.ending import Ending
from pellucid.completion.shaping.ghost_text import GhostText, shape_of
from pellucid.completion.suggestion import Place, Shaped, Suggestion, first
from pellucid.completion.trust.calibrated_gate import Candidate, Gate, decide
from pellucid.completion.trust.features import CursorFeatures
from pellucid.completion.trust.threshold_gate import passed
from pellucid.errors import PellucidError, UnavailableError
from pellucid.tokens import CompletionQuery, Finish, FinishReason, Priority, SamplingParams, Terms, Token, Usage

NAME = f"lsp-{os.getpid()}"
"""What the model server knows this editor's requests by."""

IDS = count(1)
"""Numbers of suggestions: each has its own, whatever settings it was made by."""

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
class _Request:
    """One answer that is asked for: where, in which shape, on what terms; ``said`` is its beginning, known already."""

    place: Place
    shape: SuggestionShape
    terms: Terms
    said: tuple[Token, ...] = ()
    ahead: bool = False


class Completer:
    """Answers for one editor. Cancelling a call ends its generation in the model server."""

    def __init__(
        self,
        settings: CompletionSettings,
        road: Callable[[], ModelProvider],
        context: PromptContext,
        recent: RecentAnswers,
        journal: Journal | None = None,
        *,
        model: str = "",
        served: ModelChoice | None = None,
        gate: Gate = decide,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.journal = journal or Journal()
        self._settings = settings
        self._model = model
        self._road = road
        self._context = context
        self.recent = recent
        self._gate = gate
        self._served = served or ModelChoice()
        self._clock = clock
        self._ahead = Prefetch()

    async def suggest(self, place: Place, *, invoked: bool = False) -> list[Suggestion]:
        """The suggestions at a place, the best first; several only when invoked. Raises a PellucidError where there can be none."""
        with self._explained(place) as explanation:
            suggestions = await self._suggest(place, invoked, explanation)
        self.journal.counts.hidden += explanation.outcome is Decision.HIDDEN
        if suggestions and self._settings.ahead:
            await self._look_ahead(place, suggestions[0])
        return suggestions

    async def branch(self, suggestion: Suggestion, place: Place, index: int, alternative: int) -> Suggestion | None:
        """The suggestion up to token ``index``, then another alternative of that token, then what follows from it."""
        said = forced(suggestion.tokens, index, alternative)
        if said is None:
            return None
        with self._explained(place) as explanation:
            terms = self._terms(place, f"branch-{index}-{alternative}")
            answer, shaped = await self._answer(_Request(place, SuggestionShape.BLOCK, terms, said), explanation)
            return self._present(place, answer, shaped, explanation, None)

    @contextmanager
    def _explained(self, place: Place) -> Iterator[Explanation]:
        """The explanation of a request, which says so if that fails."""
        explanation = self.journal.explanations.begin(place)
        try:
            yield explanation
        except PellucidError as error:
            explanation.end(Decision.FAILED, str(error))
            raise
        finally:
            explanation.stop()

    async def prefill(self, place: Place) -> None:
        """Have the model read the prompt of a place, so that the next answer there begins at once."""
        road = self._road()
        client = await road.client()
        model = await self._served.find(client, self._model)
        prompt = self._context.prompt(place)
        terms = Terms(Priority.BACKGROUND, key=f"{NAME}:prefill")
        extra = prompt.extra if model.files else ()
        params = SamplingParams(max_tokens=0)
        async with aclosing(
            client.complete(CompletionQuery(prompt.prefix, prompt.suffix, extra, params, model=model.name, terms=terms, heal=False))
        ) as items:
            async for _ in items:
                pass

    async def aclose(self) -> None:
        """Generate nothing any more."""
        await self._ahead.stop()

    async def _suggest(self, place: Place, invoked: bool, explanation: Explanation) -> list[Suggestion]:
        shape = explanation.shape = shape_of(place, self._settings.shape, invoked=invoked)
        if not invoked and self._settings.delay_ms:
            if self.recent.find(place) is None:
                await asyncio.sleep(self._settings.delay_ms / 1000)
            explanation.lap("delay")
        answer, shaped = await self._find_or_ask(place, shape, explanation)
        best = self._present(place, answer, shaped, explanation, None if invoked else self._settings.level)
        if not invoked or best is None:
            return [] if best is None else [best]
        others = await self._others(place, best)
        return [best, *others]

    async def _find_or_ask(self, place: Place, shape: SuggestionShape, explanation: Explanation) -> tuple[RecentAnswer, Shaped]:
        """What was said before and goes on here or, as far as that does not reach, what the model says."""
        known = self._known(place, shape, explanation)
        if known is not None:
            return known
        await self._ahead.stop()  # what it has come to may be the beginning of what is wanted here
        known = self._known(place, shape, explanation)
        if known is not None:
            return known
        found = self.recent.find(place)
        explanation.source, explanation.shape = AnswerSource.MODEL, shape
        request = _Request(place, shape, self._terms(place), () if found is None else found.tokens)
        result = await self._answer(request, explanation)
        self.journal.latency = explanation.elapsed
        return result

    def _known(self, place: Place, shape: SuggestionShape, explanation: Explanation) -> tuple[RecentAnswer, Shaped] | None:
        """What was said before and goes on here, if it is enough to know what to suggest."""
        found = self.recent.find(place)
        if found is None:
            return None
        shaped = self._what_is_left(place, found) or self._shape(place, shape, found.tokens, answer=found.answer)
        if shaped is None:
            return None
        explanation.source = AnswerSource.AHEAD if found.answer.ahead and not found.typed else AnswerSource.RECENT
        explanation.model = found.answer.model
        self.journal.counts.typed += bool(found.typed)
        explanation.lap("recent")
        return replace(found.answer, place=place, tokens=found.tokens, shape=shape), shaped

    def _shape(self, place: Place, shape: SuggestionShape, tokens: Sequence[Token], *, answer: RecentAnswer) -> Shaped | None:
        """What is suggested of tokens of an answer, or None if more of them are needed to know."""
        ghost = GhostText(place, shape, max_lines=self._settings.max_lines)
        return ghost.finish(cut_off=answer.cut_off) if _feed(ghost, tokens) or answer.complete else None

    def _what_is_left(self, place: Place, found: ContinuedAnswer) -> Shaped | None:
        """The rest of what was suggested where the answer began, while its first line is typed: it stays what it is."""
        if not found.typed or "\n" in found.typed:
            return None
        began = replace(place, before=place.before[: len(place.before) - len(found.typed)], after=found.answer.place.after)
        whole = self._shape(began, found.answer.shape, found.answer.tokens, answer=found.answer)
        if whole is None or len(whole.text) <= len(found.typed):
            return None
        length = min(len(whole.text) - len(found.typed), len(found.text))  # less where the editor has closed a bracket
        tokens = first(after_typing(whole.tokens, len(found.typed)), length)
        return Shaped("".join(token.text for token in tokens), tokens, whole.ending)

    async def _answer(self, request: _Request, explanation: Explanation) -> tuple[RecentAnswer, Shaped]:
        """What the model says; begun again where the server went away, from where it had come to."""
        said = request.said
        road = self._road()
        for attempt in range(1, ATTEMPTS + 1):
            stream = _Stream(said, explanation)
            client = await road.client()
            explanation.lap("wait")
            try:
                shaped = await self._generate(replace(request, said=said), client, stream, explanation)
            except UnavailableError:
                road.lost(client)
                if attempt == ATTEMPTS:
                    raise
                said = tuple(stream.tokens)
                continue
            finally:
                answer = stream.answer(request)
                if stream.tokens:
                    self.recent.keep(answer)
            return answer, shaped
        raise AssertionError("the last attempt returns or raises")

    async def _generate(self, request: _Request, client: Assistant, stream: _Stream, explanation: Explanation) -> Shaped:
        """Ask the model and close the stream where the thought ends, or where the time for whole lines is over."""
        model = await self._served.find(client, self._model)
        stream.model = explanation.model = self.journal.model = model.name
        prompt = self._context.prompt(request.place)
        if not model.files:
            prompt = replace(prompt, extra=())
        explanation.prompt = prompt
        explanation.lap("context")
        ghost = self._ghost(request)
        if not _feed(ghost, request.said):
            said = "".join(token.text for token in request.said)
            items = client.complete(
                CompletionQuery(
                    prompt.prefix + said,
                    prompt.suffix,
                    prompt.extra,
                    SamplingParams(max_tokens=self._settings.max_tokens, top_logprobs=self._settings.alternatives),
                    model=model.name,
                    terms=request.terms,
                    heal=False if said else None,
                ),
                on_usage=stream.note,
            )
            early = await self._listen(items, ghost, stream, request)
            explanation.lap("decode")
            if early is not None:
                return early
        return ghost.finish(cut_off=stream.cut_off)

    async def _listen(self, items: AsyncGenerator[Token | Finish], ghost: GhostText, stream: _Stream, request: _Request) -> Shaped | None:
        """Read tokens until the thought has ended, or nothing more comes; what there is, where the time is up before that."""
        budget = self._settings.budget_ms
        late = self._clock() + budget / 1000 if budget and not request.ahead else float("inf")
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Finish):
                    stream.finish(item)
                    return Shaped("", (), stream.taken_back) if stream.taken_back else None
                stream.tokens.append(item)
                if _feed(ghost, [item]):
                    return None
                if self._clock() > late and (early := ghost.so_far()) is not None:
                    return early
        return None

    def _ghost(self, request: _Request) -> GhostText:
        return GhostText(request.place, request.shape, max_lines=AHEAD_LINES if request.ahead else self._settings.max_lines)

    def _present(
        self, place: Place, answer: RecentAnswer, shaped: Shaped, explanation: Explanation, level: GateLevel | None
    ) -> Suggestion | None:
        """The suggestion that the gate lets through of an answer, or None; the explanation says why.

        Without a level all of it passes: it was asked for by hand.
        """
        explanation.answer, explanation.ending, explanation.level = answer.text, shaped.ending, level
        if not shaped.text:
            explanation.end(Decision.NOTHING, NOTHING.get(shaped.ending, f"There is nothing to suggest: {shaped.ending}."))
            return None
        candidate = Candidate(place, shaped.tokens, shaped.ending, self._served.calibration(answer.model))
        verdict = explanation.verdict = self._gate(candidate, level) if level else passed(shaped.tokens)
        text = shaped.text[: verdict.length]
        explanation.lap("gate")
        if not text:
            explanation.end(Decision.HIDDEN, verdict.reason)
            return None
        if level and self.recent.is_dismissed(place, text):
            explanation.end(Decision.HIDDEN, "It was dismissed at this place before.")
            return None
        suggestion = Suggestion(f"{NAME}-{next(IDS)}", place, text, first(shaped.tokens, len(text)), answer.model, answer.shape)
        self.recent.add(suggestion)
        self.journal.explanations.name(explanation, suggestion.id)
        explanation.shown = text
        explanation.at = CursorFeatures.of(place) if self._settings.log else None
        explanation.end(Decision.SHOWN if len(text) == len(shaped.text) else Decision.SHORTENED, verdict.reason)
        return suggestion

    async def _others(self, place: Place, best: Suggestion) -> list[Suggestion]:
        """More suggestions: from the most probable alternatives to the best one's tokens, in one batch."""
        choices = sorted(alternatives(best.tokens), reverse=True)[: self._settings.candidates - 1]
        requests = [
            (_Request(place, best.shape, self._terms(place, f"candidate-{number}"), said), explanation_of(place))
            for number, (_, index, alternative) in enumerate(choices)
            if (said := forced(best.tokens, index, alternative)) is not None
        ]
        asked = (self._answer(request, explanation) for request, explanation in requests)
        answers = await asyncio.gather(*asked, return_exceptions=True)  # all have ended when one has failed
        others: dict[str, Suggestion] = {}
        for result, (_, explanation) in zip(answers, requests, strict=True):
            if isinstance(result, PellucidError):
                continue  # the best one is there all the same
            if isinstance(result, BaseException):
                raise result
            suggestion = self._present(place, *result, explanation, None)
            if suggestion is not None and suggestion.text != best.text:
                others.setdefault(suggestion.text, suggestion)
        return list(others.values())

    def _terms(self, place: Place, part: str = "") -> Terms:
        return Terms(Priority.COMPLETION, key=f"{NAME}:{place.uri}:{part}")

    async def _look_ahead(self, place: Place, suggestion: Suggestion) -> None:
        """Generate what follows a suggestion while it is shown."""
        target = replace(place, before=place.before + suggestion.text)
        if self._ahead.is_for(target):
            return
        found = self.recent.find(target)
        if found is None or not found.text.strip():
            await self._ahead.start(target, self._generate_ahead(target, () if found is None else found.tokens))

    async def _generate_ahead(self, place: Place, said: tuple[Token, ...]) -> None:
        terms = Terms(Priority.BACKGROUND, key=f"{NAME}:ahead")
        request = _Request(place, SuggestionShape.BLOCK if not place.right.strip() else SuggestionShape.LINE, terms, said, ahead=True)
        with suppress(PellucidError):  # nobody asked for it; whoever asks next is told
            await self._answer(request, explanation_of(place))


class _Stream:
    """What has come of an answer so far. ``taken_back`` says why nobody wants it any more, if so."""

    def __init__(self, said: Sequence[Token], explanation: Explanation) -> None:
        self.tokens = list(said)
        self.complete = False
        self.cut_off = False
        self.taken_back = ""
        self.model = ""
        self._explanation = explanation
        self._first = True

    def answer(self, request: _Request) -> RecentAnswer:
        """It as the answer to a request."""
        said = tuple(self.tokens)
        return RecentAnswer(request.place, said, request.shape, self.complete, self.model, request.ahead, self.cut_off)

    def note(self, usage: Usage) -> None:
        """What it has cost so far."""
        self._explanation.usage = usage
        if self._first:
            self._first = False
            self._explanation.lap("prefill", but={"queued": usage.queued * 1000})

    def finish(self, finish: Finish) -> None:
        """The model has ended, or was ended."""
        self._explanation.usage = finish.usage
        if finish.reason is FinishReason.ERROR:
            raise PellucidError(finish.error or "The model server failed on this request.")
        if finish.reason is FinishReason.CANCELLED:
            raise UnavailableError("The model server is leaving.")
        self.complete = finish.reason in (FinishReason.STOP, FinishReason.LENGTH)
        self.cut_off = finish.reason is FinishReason.LENGTH
        if finish.reason is FinishReason.SUPERSEDED:
            self.taken_back = "a newer request took its place"


def _feed(ghost: GhostText, tokens: Iterable[Token]) -> bool:
    """Feed tokens as far as they are wanted; whether the thought has ended."""
    for token in tokens:
        ghost.feed(token)
        if ghost.ended:
            break
    return ghost.ended
