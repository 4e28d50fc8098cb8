"""The measurements request, count and skip the right things, and typing is as in an editor."""

from __future__ import annotations

import ast
import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterator
from typing import Any, cast

import pytest

from pellucid.bench import measure
from pellucid.bench.keystrokes import Keystroke, TypingSession, replay, session
from pellucid.bench.machine_limits import Floors
from pellucid.bench.measure import Measurements, Trial, check, rate_together
from pellucid.bench.report import Unit
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model import TokenCost
from pellucid.engine.model_worker import EngineSettings
from pellucid.errors import UnavailableError
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.query import CompletionQuery, Priority
from pellucid.vocabulary.token import Token
from support.models.tiny_models import VOCAB_SIZE, tiny_llama, to_decoder
from support.silent_assistant import SilentAssistant

NO_ASSISTANT = cast("LocalAssistant", None)
CONTEXT = 560
MODEL = to_decoder(tiny_llama(max_position_embeddings=CONTEXT))


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    engine = LocalEngine({"tiny": MODEL}, EngineSettings(slots=4, context=CONTEXT))
    yield engine
    engine.close()


def measurements(engine: LocalEngine, cost: TokenCost | None = MODEL.cost) -> Measurements:
    return Measurements(engine, NO_ASSISTANT, "tiny", cost, VOCAB_SIZE)


def find(trials: tuple[Trial, ...], label: str) -> Trial:
    return next(trial for trial in trials if trial.label == label)


def test_what_does_not_fit_is_left_out(engine: LocalEngine) -> None:
    """Prompts beyond the context and streams beyond the slots are reported as skipped."""
    found = measurements(engine)

    assert [trial.label for trial in found.trials] == [
        *(
            "prefill of 128 tokens",
            "prefill of 512 tokens",
            "decode of 64 tokens",
            "decode of 64 repeated tokens",
            "1 streams",
            "2 streams",
            "4 streams",
            "typing",
        ),
    ]
    assert found.left_out == [
        "A prompt of 2048 tokens: it takes 2049 tokens, but the context holds 560.",
        "8 streams together: there are only 4 slots.",
    ]


def test_limits(engine: LocalEngine) -> None:
    """Each limit is the floors' least time in the quantity's unit; a warm token is one pass."""
    cost = TokenCost(read_bytes=400, body=300, head=100, dtype="float32")
    floors = Floors(reading=20e3, multiplying=1e6)
    limits = {
        (quantity.section, quantity.name): quantity.limit(floors)
        for trial in measurements(engine, cost).trials
        for quantity in trial.quantities
        if quantity.limit is not None
    }

    prefill = 2 * (512 * 300 + 100) / 1e6
    assert limits == pytest.approx(
        {
            ("prefill", "128 tokens"): 128 / (2 * (128 * 300 + 100) / 1e6),
            ("prefill", "512 tokens"): 512 / prefill,
            ("first token", "cold, 512 tokens"): 1000 * prefill,
            ("first token", "warm, 511 cached"): 20,
            ("decode", "one stream"): 50,
            ("decode", "a token"): 20,
            ("streams", "1 together"): 50,
            ("streams", "2 together"): 100,
            ("streams", "4 together"): 200,
        }
    )


def test_without_a_known_cost(engine: LocalEngine) -> None:
    """Without a known cost of a token there is no limit, and the report gives the reason."""
    found = measurements(engine, None)

    assert not [quantity for trial in found.trials for quantity in trial.quantities if quantity.limit]
    assert found.left_out[-1] == "Limits of tiny: the weights that are read depend on the token."


async def test_reading_a_prompt(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate covers an unknown prompt's tokens; a warm prompt computes only the last token."""
    clock = itertools.count()
    monkeypatch.setattr(
        "pellucid.bench.measure.time.perf_counter", lambda: float(next(clock))
    )  # A second from request to token.

    sample = await find(measurements(engine).trials, "prefill of 512 tokens").run()

    assert sample == (512.0, 1000.0, 1000.0)
    assert (engine.status("tiny").totals.computed, engine.status("tiny").totals.cached) == (513, 511)


async def test_decoding(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time per token excludes the first token of the answer."""
    clock = itertools.count(step=0.25)
    monkeypatch.setattr("pellucid.bench.measure.time.perf_counter", lambda: float(next(clock)))

    assert await find(measurements(engine).trials, "decode of 64 tokens").run() == (4.0, 250.0)
    assert engine.status("tiny").totals.generated == 64


async def test_streams_run_together(engine: LocalEngine) -> None:
    """Four streams are a batch, with as many steps as a single stream, plus a common start."""
    (rate,) = await find(measurements(engine).trials, "4 streams").run()

    assert rate > 0
    totals = engine.status("tiny").totals
    assert (totals.generated, totals.cached) == (4 * measure.STREAM_ANSWER + 1, 0)
    assert totals.steps == measure.STREAM_ANSWER + 1


async def test_streams_of_an_engine_that_is_gone(engine: LocalEngine) -> None:
    """A closed engine raises an error instead of a hang."""
    found = measurements(engine)
    await asyncio.to_thread(engine.close)

    with pytest.raises(UnavailableError, match="shutting down"):
        await find(found.trials, "4 streams").run()


async def test_no_prompt_is_known(engine: LocalEngine) -> None:
    """The cache never has a prefix of a measured prompt, even in repeated runs."""
    trial = find(measurements(engine).trials, "prefill of 128 tokens")
    for _ in range(12):
        await trial.run()
    await asyncio.to_thread(engine.close)

    assert engine.status("tiny").totals.cached == 0


def test_rate_of_streams() -> None:
    """Streams add up, each with the stream's own time from first to last token."""
    assert rate_together([Usage(generated=11, decode=2.0), Usage(generated=21, decode=4.0)]) == 10.0


@pytest.mark.parametrize(
    ("finish", "why"),
    [
        (Finish(FinishReason.ERROR, Usage(generated=3), error="the device is gone"), "the device is gone"),
        (Finish(FinishReason.CANCELLED, Usage(generated=3)), "cancelled"),
    ],
)
def test_broken_answers_are_no_figures(finish: Finish, why: str) -> None:
    """A failing model ends the benchmark with the reason."""
    with pytest.raises(UnavailableError, match=f"^The model failed during the measurement: {why}"):
        check(finish, 8)


async def test_typing(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keystrokes have a median, a 95th percentile and a mean of computed tokens."""

    async def replay(*_: Any) -> list[Keystroke]:
        return [
            Keystroke(seconds / 1000, computed)
            for seconds, computed in zip(range(101), itertools.cycle((1, 3)), strict=False)
        ]

    monkeypatch.setattr(measure, "replay", replay)
    trial = find(measurements(engine).trials, "typing")

    median, late, computed = await trial.run()

    assert [quantity.unit for quantity in trial.quantities] == [Unit.MILLISECONDS, Unit.MILLISECONDS, Unit.TOKENS]
    assert (median, late) == pytest.approx((50, 95))
    assert computed == pytest.approx(2, abs=0.02)


class Answering(SilentAssistant):
    """An assistant with a record of requests; the computed tokens equal the number of requests."""

    def __init__(self, reason: FinishReason = FinishReason.STOP) -> None:
        self.asked: list[CompletionQuery] = []
        self.reason = reason

    async def complete(
        self, query: CompletionQuery, *, on_usage: OnUsage | None = None
    ) -> AsyncGenerator[Token | Finish]:
        self.asked.append(query)
        yield Token(1, "x", b"x", 0, -0.1, 1, 0.5)
        yield Finish(self.reason, Usage(computed=len(self.asked)), error="the device is gone")


def test_session_is_a_program() -> None:
    """The text around the cursor is incomplete Python, with enough keystrokes for a percentile."""
    text = session()

    ast.parse(text.before + text.typed + "[p.month] += p.amount" + text.after)
    assert len(text.typed) >= 20
    assert len(text.before + text.after) > 3000


async def test_each_keystroke_asks_for_the_first_line() -> None:
    """Each keystroke adds a character to the prefix; the opening request does not count."""
    assistant = Answering()

    strokes = await replay(cast("LocalAssistant", assistant), TypingSession("a = ", "ma", "\n"))

    assert [(query.prefix, query.suffix) for query in assistant.asked] == [
        ("a = ", "\n"),
        ("a = m", "\n"),
        ("a = ma", "\n"),
    ]
    assert all(query.stop == ("\n",) and query.terms.priority is Priority.COMPLETION for query in assistant.asked)
    assert [stroke.computed for stroke in strokes] == [2, 3]
    assert all(stroke.seconds >= 0 for stroke in strokes)


async def test_failing_model() -> None:
    """A failing model ends the benchmark with the reason."""
    with pytest.raises(UnavailableError, match="the device is gone"):
        await replay(cast("LocalAssistant", Answering(FinishReason.ERROR)), TypingSession("a", "b", ""))
