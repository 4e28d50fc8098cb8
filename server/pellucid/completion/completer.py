"""Suggestions at a cursor: the confident part of a recent answer or of a new answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count

from pellucid.completion.answers import Answer, Answers, GrowingAnswer, RemainingAnswer, UsableAnswer, text_after
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.explanation import AnswerSource, Decision, Explanation, Journal, new_explanation
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.settings import CompletionSettings, GateLevel, SuggestionShape
from pellucid.completion.shaping.branches import alternatives, force_alternative
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.ghost_text import GhostText, choose_shape, trim_answer
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.shaping.part_ends import is_worth_showing
from pellucid.completion.suggestion import Suggestion, TrimmedAnswer, drop_typed, join_texts, truncate
from pellucid.completion.suggestion_memory import SuggestionMemory
from pellucid.completion.suggestion_stream import CLIENT_NAME, AnswerGenerator, AnswerRequest
from pellucid.completion.trust.calibrated_gate import Candidate, Gate, decide, doubtful_rest
from pellucid.completion.trust.session_adjustment import SessionAdjustment
from pellucid.completion.trust.threshold_gate import show_all
from pellucid.errors import PellucidError
from pellucid.vocabulary.token import Token

SUGGESTION_NUMBERS = count(1)
"""Numbers for the ids of suggestions, unique in this process across changes of the settings."""

NOTHING: Mapping[str, str] = {
    Ending.LINE: "The line is complete as it is.",
    Ending.SCOPE: "The block is complete as it is.",
    Ending.SUFFIX: "The answer only repeats text that already follows the cursor.",
    Ending.BRACKET: "The answer only closes a bracket that is not open here.",
    Ending.REWRITE: "The answer writes the rest of the line in other words, so it cannot be inserted.",
    Ending.ABOVE: "The answer only repeats the line above.",
    Ending.REPETITION: "The answer only repeats itself.",
    Ending.BLANK: "The answer is only white space.",
    Ending.STOP: "The model has nothing to add here.",
}
"""Reasons for suggesting no part of an answer, by the ending of the answer."""


class Completer:
    """Suggests completions in one editor.

    After a cancelled ``suggest``, the model generates for ``SECONDS_UNATTENDED`` more, because the
    user may be typing the answer. ``doubtful_rests``: a suggestion may have a doubtful rest after
    the sure beginning.
    """

    def __init__(
        self,
        settings: CompletionSettings,
        models: ModelChoice,
        context: PromptContext,
        *,
        answers: Answers | None = None,
        suggestions: SuggestionMemory | None = None,
        journal: Journal | None = None,
        adjustment: SessionAdjustment | None = None,
        gate: Gate = decide,
        doubtful_rests: bool = False,
        saves_power: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.journal = journal or Journal()
        self.answers = Answers() if answers is None else answers
        self.suggestions = SuggestionMemory() if suggestions is None else suggestions
        self._settings = settings
        self._models = models
        self._adjustment = adjustment or SessionAdjustment()
        self._gate = gate
        self._doubtful_rests = doubtful_rests
        self._saves_power = saves_power
        self._context = context
        self._context_version = context.version
        self._generator = AnswerGenerator(settings, models, context, self.answers, self.journal, clock)
        self._typed_into: tuple[Answer, TrimmedAnswer | None] | None = None

    async def suggest(self, cursor: DocumentCursor, *, invoked: bool = False, parts: bool = False) -> list[Suggestion]:
        """Return the suggestions at a cursor, the best first; several only if ``invoked`` by hand.

        ``parts``: return a sure beginning before the whole answer is generated. The next request at
        this cursor gets the whole answer.
        """
        with self._explain(cursor) as explanation:
            # 1. Parse the code around the cursor, to choose between a line and a block.
            parsed = ParsedCursor(cursor)
            shape = explanation.shape = choose_shape(parsed, self._settings.shape, invoked=invoked)

            # 2. Look up a recent answer for this cursor. Without an answer, wait for a pause.
            if self._context.version != self._context_version:
                self._context_version = self._context.version
                self.answers.forget()  # The model had not read the present chunks of other files.
            remaining = self.answers.at(cursor)
            if self._settings.delay_ms and not invoked:
                if remaining is None:
                    await asyncio.sleep(self._settings.delay_ms / 1000)
                    remaining = self.answers.at(cursor)
                explanation.lap("delay")

            # 3. Reuse a long enough answer. If the answer still grows, wait for more tokens.
            if (growing := self.answers.growing_at(cursor)) is not None:
                usable = await self._follow(growing, parsed, shape, explanation, parts=parts)
                remaining = self.answers.at(cursor)
            else:
                usable = self._reuse(parsed, shape, remaining, explanation)

            # 4. Otherwise generate the missing rest. The stream is closed at the suggestion's end.
            if usable is None:
                if await self.answers.stop_ahead():
                    remaining = self.answers.at(cursor)
                explanation.source = AnswerSource.MODEL
                request = AnswerRequest(parsed, shape, () if remaining is None else remaining.tokens)
                usable = await self._generate(request, explanation, parts=parts)
                self._typed_into = (usable.answer, usable.trimmed) if usable.final else None
                self.journal.latency = explanation.elapsed

            # 5. Show the part of the answer that passes the gate; the whole answer if invoked.
            best = self._present(parsed, usable, explanation, None if invoked else self._settings.level)
            suggestions = [] if best is None else [best]

            # 6. Offer alternatives if invoked.
            if best is not None and invoked:
                suggestions += await self._generate_alternatives(parsed, best)

        # 7. Generate the text after the suggestion while the suggestion is shown.
        self.journal.counts.hidden += explanation.outcome is Decision.HIDDEN
        if suggestions and self._settings.ahead and not suggestions[0].partial:
            await self._prefetch_after(cursor, suggestions[0])
        return suggestions

    async def branch(
        self, suggestion: Suggestion, cursor: DocumentCursor, index: int, alternative: int
    ) -> Suggestion | None:
        """Return a suggestion that continues from an alternative to the token at ``index``.

        Return None without such an alternative or if nothing is worth showing.
        """
        forced = force_alternative(suggestion.tokens, index, alternative)
        if forced is None:
            return None
        with self._explain(cursor) as explanation:
            parsed = ParsedCursor(cursor)
            request = AnswerRequest(parsed, choose_shape(parsed, invoked=True), forced, f"branch-{index}-{alternative}")
            return self._present(parsed, await self._generator.generate(request, explanation), explanation, None)

    async def prefill(self, cursor: DocumentCursor, *, prepared: bool = False) -> None:
        """Have the model read the prompt at a cursor, for a fast start of the next answer.

        ``prepared``: with the prepared definitions.
        """
        await self._generator.prefill(cursor, prepared=prepared)

    async def aclose(self) -> None:
        await self.answers.stop()

    async def _generate(self, request: AnswerRequest, explanation: Explanation, *, parts: bool) -> UsableAnswer:
        """Generate an answer; the answer may continue to grow after the next keystroke."""
        generate = partial(self._generator.generate, request, explanation)
        cursor, known = request.parsed.document, join_texts(request.generated)
        growing = self.answers.start(cursor, known, explanation, generate)
        part = await self._sure_part(growing, request.parsed, request.shape) if parts else None
        return part or await growing.result()

    async def _follow(
        self,
        growing: GrowingAnswer,
        parsed: ParsedCursor,
        shape: SuggestionShape,
        explanation: Explanation,
        *,
        parts: bool,
    ) -> UsableAnswer | None:
        """Wait for the answer of an earlier request, and stop the answer at a sufficient length.

        Return None for an answer that is not usable here.
        """
        explanation.source = AnswerSource.RECENT
        usable = await self._sure_part(growing, parsed, shape, parts=parts)
        if usable is None:
            await growing.stop()
            usable = self._reuse(parsed, shape, self.answers.at(parsed.document), explanation)
        explanation.prompt, explanation.usage = growing.explanation.prompt, growing.explanation.usage
        if usable is not None:
            self.journal.latency = explanation.elapsed
        return usable

    async def _sure_part(
        self, growing: GrowingAnswer, parsed: ParsedCursor, shape: SuggestionShape, *, parts: bool = True
    ) -> UsableAnswer | None:
        """Wait until an answer is long enough here, has ended, or differs from the typed text.

        With ``parts``, return a sure first line without waiting further, once for each cursor.
        """
        cursor = parsed.document
        while growing.continues_at(cursor):
            remaining = self.answers.at(cursor) if growing.has_grown else None
            if remaining is not None:
                ghost = GhostText(parsed, shape, max_lines=self._settings.max_lines)
                if ghost.feed_all(remaining.tokens):
                    return None
                part = ghost.first_line_so_far() if parts and growing.part_shown_at != cursor else None
                if part is not None and self._is_sure(parsed, part, remaining.answer.model):
                    growing.part_shown_at = cursor
                    growing.leave()
                    return UsableAnswer(
                        replace(remaining.answer, cursor=cursor, tokens=remaining.tokens, shape=shape),
                        part,
                        final=False,
                    )
            await growing.grow()
        return None

    def _is_sure(self, parsed: ParsedCursor, part: TrimmedAnswer, model: str) -> bool:
        """Return whether the gate passes enough of an unfinished answer's first line."""
        text = part.text[: self._gate(self._candidate(parsed, part, model), self._settings.level).length]
        return is_worth_showing(text) and not self.suggestions.is_dismissed(parsed.document, text)

    def _candidate(self, parsed: ParsedCursor, trimmed: TrimmedAnswer, model: str) -> Candidate:
        return Candidate(
            parsed, trimmed.tokens, trimmed.ending, self._models.calibration(model), self._adjustment.offset
        )

    @contextmanager
    def _explain(self, cursor: DocumentCursor) -> Iterator[Explanation]:
        explanation = self.journal.explanations.begin(cursor)
        try:
            yield explanation
        except PellucidError as error:
            explanation.end(Decision.FAILED, str(error))
            raise
        finally:
            explanation.stop()

    def _reuse(
        self, parsed: ParsedCursor, shape: SuggestionShape, remaining: RemainingAnswer | None, explanation: Explanation
    ) -> UsableAnswer | None:
        """Return the rest of a recent answer, or None if the rest is too short for a suggestion."""
        if remaining is None:
            return None
        answer = remaining.answer
        trimmed = self._remaining_suggestion(parsed.document, remaining) or self._trim(
            parsed, shape, remaining.tokens, answer
        )
        if trimmed is None:
            return None
        explanation.source = AnswerSource.PREFETCH if answer.prefetched and not remaining.typed else AnswerSource.RECENT
        self.journal.counts.typed += bool(remaining.typed)
        explanation.lap("recent")
        return UsableAnswer(
            replace(answer, cursor=parsed.document, tokens=remaining.tokens, shape=shape), trimmed, final=True
        )

    def _remaining_suggestion(self, cursor: DocumentCursor, remaining: RemainingAnswer) -> TrimmedAnswer | None:
        """Return the rest of a suggestion while the user types the first line.

        A new trim of the rest could change the suggestion during typing.
        """
        typed, answer = remaining.typed, remaining.answer
        if not typed or "\n" in typed:
            return None
        if self._typed_into is None or self._typed_into[0] is not answer:
            begin = replace(
                cursor, before=cursor.before[: len(cursor.before) - len(typed)], after=text_after(answer, cursor)
            )
            self._typed_into = answer, self._trim(ParsedCursor(begin), answer.shape, answer.tokens, answer)
        whole = self._typed_into[1]
        if whole is None or len(whole.text) <= len(typed):
            return None
        length = min(len(whole.text) - len(typed), len(remaining.text))  # Less after a closed bracket.
        tokens = truncate(drop_typed(whole.tokens, len(typed)), length)
        return TrimmedAnswer(join_texts(tokens), tokens, whole.ending)

    def _trim(
        self, parsed: ParsedCursor, shape: SuggestionShape, tokens: tuple[Token, ...], answer: Answer
    ) -> TrimmedAnswer | None:
        max_lines = self._settings.max_lines
        return trim_answer(parsed, shape, tokens, max_lines=max_lines, complete=answer.complete, cut_off=answer.cut_off)

    def _present(
        self, parsed: ParsedCursor, usable: UsableAnswer, explanation: Explanation, level: GateLevel | None
    ) -> Suggestion | None:
        """Return the part of an answer that passes the gate, or None, and explain the decision.

        Without a level (a request by hand), the whole answer passes.
        """
        answer, trimmed = usable.answer, usable.trimmed
        explanation.answer, explanation.ending, explanation.level = answer.text, trimmed.ending, level
        explanation.model = answer.model
        if not trimmed.text:
            explanation.end(
                Decision.NOTHING, NOTHING.get(trimmed.ending, f"There is nothing to suggest: {trimmed.ending}.")
            )
            return None
        candidate, is_part = self._candidate(parsed, trimmed, answer.model), trimmed.ending == Ending.PART
        verdict = explanation.verdict = self._gate(candidate, level) if level else show_all(trimmed.tokens)
        sure = length = verdict.length
        if level and self._doubtful_rests and not is_part:
            sure, length = self._with_doubtful_rest(candidate, verdict.length)
        explanation.lap("gate")
        if not length:
            explanation.end(Decision.HIDDEN, verdict.reason)
            return None
        if level and self.suggestions.is_dismissed(parsed.document, trimmed.text[:length]):
            length = sure
            if not sure or self.suggestions.is_dismissed(parsed.document, trimmed.text[:sure]):
                explanation.end(Decision.HIDDEN, "It was dismissed here before.")
                return None
        text, doubtful = trimmed.text[:length], length - sure
        id, tokens = f"{CLIENT_NAME}-{next(SUGGESTION_NUMBERS)}", truncate(trimmed.tokens, len(text))
        suggestion = Suggestion(id, parsed.document, text, tokens, answer.model, answer.shape, is_part, doubtful)
        self.suggestions.add(suggestion)
        self.journal.explanations.name(explanation, suggestion.id)
        explanation.shown = text
        explanation.doubtful = doubtful
        explanation.at = candidate.cursor_features if self._settings.log and sure else None
        is_whole = sure == len(trimmed.text) and not is_part
        reason = f"{verdict.reason} The rest is shown as doubtful." if doubtful and sure else verdict.reason
        if not sure:
            reason = "It is left of a suggestion whose rest was shown as doubtful."
        explanation.end(Decision.SHOWN if is_whole else Decision.SHORTENED, reason)
        return suggestion

    def _with_doubtful_rest(self, candidate: Candidate, sure: int) -> tuple[int, int]:
        """Return the numbers of sure and shown characters, including a suggestion on the screen."""
        left = self.suggestions.doubtful_suggestion(candidate.parsed.document)
        if left is not None and candidate.text.startswith(left[0]):
            sure = max(sure, left[1])
            return sure, max(sure, len(left[0]))
        return sure, sure + (doubtful_rest(candidate, sure) if sure else 0)

    async def _generate_alternatives(self, parsed: ParsedCursor, best: Suggestion) -> list[Suggestion]:
        choices = sorted(alternatives(best.tokens), reverse=True)[: self._settings.candidates - 1]
        requests = [
            (AnswerRequest(parsed, best.shape, forced, f"candidate-{number}"), new_explanation(parsed.document))
            for number, (_, index, alternative) in enumerate(choices)
            if (forced := force_alternative(best.tokens, index, alternative)) is not None
        ]
        running = (self._generator.generate(request, explanation) for request, explanation in requests)
        results = await asyncio.gather(*running, return_exceptions=True)  # A failure must not end the rest.
        suggestions: dict[str, Suggestion] = {}
        for result, (_, explanation) in zip(results, requests, strict=True):
            if isinstance(result, PellucidError):
                continue  # The best suggestion remains.
            if isinstance(result, BaseException):
                raise result
            suggestion = self._present(parsed, result, explanation, None)
            if suggestion is not None and suggestion.text != best.text:
                suggestions.setdefault(suggestion.text, suggestion)
        return list(suggestions.values())

    async def _prefetch_after(self, cursor: DocumentCursor, suggestion: Suggestion) -> None:
        target = replace(cursor, before=cursor.before + suggestion.text)
        if self.answers.is_ahead_at(target) or self._saves_power():
            return
        remaining = self.answers.at(target)
        if remaining is None or not remaining.text.strip():
            generated = () if remaining is None else remaining.tokens
            await self.answers.start_ahead(target, self._generate_prefetched(target, generated))

    async def _generate_prefetched(self, cursor: DocumentCursor, generated: tuple[Token, ...]) -> None:
        shape = SuggestionShape.BLOCK if not cursor.right.strip() else SuggestionShape.LINE
        request = AnswerRequest(ParsedCursor(cursor), shape, generated, prefetch=True)
        with suppress(PellucidError):  # No caller waits; the next request reports the failure.
            await self._generator.generate(request, new_explanation(cursor))
