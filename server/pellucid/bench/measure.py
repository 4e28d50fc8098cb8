"""The trials of a benchmark, through the same engine and assistant as in ``pellucid serve``.

Prompts are random tokens, so no prompt is in the cache. Answers have their full length. A model
repeats itself after random tokens, which would flatter prompt lookup, so lookup is off except for
the repetitive text. The prefill rate is computed tokens divided by time to first token.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from pellucid.bench.keystrokes import replay, session
from pellucid.bench.machine_limits import Floors
from pellucid.bench.report import Unit
from pellucid.bench.same_step_start import together
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model import TokenCost
from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import UnavailableError
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import COMPLETION, SamplingParams

PROMPTS = (128, 512, 2048)
FIRST_TOKEN = 512
"""Prompt tokens of the time to first token, cold and warm."""
DECODE_PROMPT, DECODE_ANSWER = 128, 64
REPEATED = 4
STREAMS = (1, 2, 4, 8)
STREAM_PROMPT, STREAM_ANSWER = 8, 48

Limit = Callable[[Floors], float]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measured quantity. ``limit`` converts the floors to a bound in the same unit."""

    section: str
    name: str
    unit: Unit
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A measurement. ``run`` returns a sample per quantity."""

    label: str
    quantities: tuple[Quantity, ...]
    run: Callable[[], Awaitable[tuple[float, ...]]]


@dataclass(frozen=True, slots=True)
class TimedAnswer:
    """Seconds to the first token, seconds from the first to the last token, and the usage."""

    wait: float
    rest: float
    usage: Usage


class Measurements:
    """All trials of a model, within the limits of its context and the engine's slots.

    ``left_out`` has a sentence for each omitted trial.
    """

    def __init__(
        self, engine: LocalEngine, assistant: LocalAssistant, model: str, cost: TokenCost | None, vocab_size: int
    ) -> None:
        self.left_out: list[str] = []
        self._engine = engine
        self._assistant = assistant
        self._model = model
        self._cost = cost
        self._vocab_size = vocab_size
        self._dice = random.Random(0)  # noqa: S311 - no secret is drawn
        self._firsts = itertools.cycle(range(vocab_size))
        self._last: tuple[int, ...] = ()
        self.trials = tuple(self._all())
        if cost is None:
            self.left_out.append(f"Limits of {model}: the weights that are read depend on the token.")

    def _all(self) -> Iterator[Trial]:
        yield from (self._reading(size) for size in PROMPTS if self._fits(f"a prompt of {size} tokens", size + 1))
        if self._fits(f"decoding after {DECODE_PROMPT} tokens", DECODE_PROMPT + DECODE_ANSWER):
            yield self._decoding()
            if self._engine.settings.lookup:
                yield self._repeating()
        if self._fits("several streams", STREAM_PROMPT + STREAM_ANSWER):
            yield from (self._streaming(count) for count in STREAMS if self._has_slots(count))
        yield self._typing()

    def _fits(self, what: str, tokens: int) -> bool:
        context = self._engine.context(self._model)
        if tokens > context:
            self.left_out.append(
                f"{what[0].upper()}{what[1:]}: it takes {tokens} tokens, but the context holds {context}."
            )
        return tokens <= context

    def _has_slots(self, streams: int) -> bool:
        slots = self._engine.settings.slots
        if streams > slots:
            self.left_out.append(f"{streams} streams together: there are only {slots} slots.")
        return streams <= slots

    def _reading(self, size: int) -> Trial:
        limit = self._limit(lambda least: size / least, size, 1)
        quantities = [Quantity("prefill", f"{size} tokens", Unit.RATE, limit)]
        if size == FIRST_TOKEN:
            cold = self._limit(lambda least: 1000 * least, size, 1)
            warm = self._limit(lambda least: 1000 * least, 1, 1)
            quantities.append(Quantity("first token", f"cold, {size} tokens", Unit.MILLISECONDS, cold))
            quantities.append(Quantity("first token", f"warm, {size - 1} cached", Unit.MILLISECONDS, warm))

        async def run() -> tuple[float, ...]:
            prompt = self._prompt(size)
            cold = await self._ask(prompt, 1)
            rate = cold.usage.computed / cold.wait
            if size != FIRST_TOKEN:
                return (rate,)
            warm = await self._ask(prompt, 1)
            assert warm.usage.cached == size - 1, "a prompt that was just read is in the cache"
            return rate, 1000 * cold.wait, 1000 * warm.wait

        return Trial(f"prefill of {size} tokens", tuple(quantities), run)

    def _decoding(self) -> Trial:
        rate = Quantity("decode", "one stream", Unit.RATE, self._limit(lambda least: 1 / least, 1, 1))
        each = Quantity("decode", "a token", Unit.MILLISECONDS, self._limit(lambda least: 1000 * least, 1, 1))

        async def run() -> tuple[float, ...]:
            answer = await self._ask(self._prompt(DECODE_PROMPT), DECODE_ANSWER)
            seconds = answer.rest / (DECODE_ANSWER - 1)
            return 1 / seconds, 1000 * seconds

        return Trial(f"decode of {DECODE_ANSWER} tokens", (rate, each), run)

    def _repeating(self) -> Trial:
        """Return the trial of a repetitive text, the best case of prompt lookup."""
        quantity = Quantity("decode", "a text that repeats itself", Unit.RATE)

        async def run() -> tuple[float, ...]:
            repeated = self._prompt(DECODE_PROMPT // REPEATED)
            answer = await self._ask([*repeated] * REPEATED, DECODE_ANSWER, lookup=True)
            return ((DECODE_ANSWER - 1) / answer.rest,)

        return Trial(f"decode of {DECODE_ANSWER} repeated tokens", (quantity,), run)

    def _streaming(self, count: int) -> Trial:
        quantity = Quantity(
            "streams", f"{count} together", Unit.RATE, self._limit(lambda least: count / least, count, count)
        )

        async def run() -> tuple[float, ...]:
            questions = [partial(self._ask, self._prompt(STREAM_PROMPT), STREAM_ANSWER) for _ in range(count)]
            answers = await together(questions, self._engine, self._model, self._prompt(1))
            return (rate_together([answer.usage for answer in answers]),)

        return Trial(f"{count} streams", (quantity,), run)

    def _typing(self) -> Trial:
        quantities = (
            Quantity("typing", "first line, p50", Unit.MILLISECONDS),
            Quantity("typing", "first line, p95", Unit.MILLISECONDS),
            Quantity("typing", "prompt, per keystroke", Unit.TOKENS),
        )

        async def run() -> tuple[float, ...]:
            strokes = await replay(self._assistant, session())
            cuts = statistics.quantiles([1000 * stroke.seconds for stroke in strokes], n=20, method="inclusive")
            return cuts[9], cuts[18], statistics.mean(stroke.computed for stroke in strokes)

        return Trial("typing", quantities, run)

    def _limit(self, convert: Callable[[float], float], tokens: int, wanted: int) -> Limit | None:
        """Return the limit of a pass over ``tokens``: minimum seconds, passed to ``convert``."""
        cost = self._cost
        return None if cost is None else lambda floors: convert(floors.seconds(cost, tokens, wanted))

    def _prompt(self, size: int) -> Sequence[int]:
        """Return random tokens, the first token different each time (no shared prefixes)."""
        return [next(self._firsts), *(self._dice.randrange(self._vocab_size) for _ in range(size - 1))]

    async def _ask(self, prompt: Sequence[int], tokens: int, *, lookup: bool = False) -> TimedAnswer:
        # Completions, because only completions may take the last slot.
        request = Request(prompt, SamplingParams(max_tokens=tokens, ignore_eos=True), COMPLETION, lookup=lookup)
        times = [time.perf_counter()]
        async with aclosing(self._engine.generate(self._model, request)) as items:
            async for item in items:
                if isinstance(item, TokenScore):
                    times.append(time.perf_counter())
                elif isinstance(item, Finish):
                    check(item, tokens)
                    return TimedAnswer(times[1] - times[0], times[-1] - times[1], item.usage)
        raise AssertionError("the engine's last item is a Finish")


def check(finish: Finish, tokens: int) -> None:
    """Raise UnavailableError for an answer below full length, after a failure of the model."""
    if finish.reason is not FinishReason.LENGTH or finish.usage.generated != tokens:
        raise UnavailableError(f"The model failed during the measurement: {finish.error or finish.reason}")


def rate_together(usages: Sequence[Usage]) -> float:
    """Return the total tokens per second of concurrent answers, by the engine's own clock.

    A client of several streams receives tokens in bursts.
    """
    return sum((usage.generated - 1) / usage.decode for usage in usages)
