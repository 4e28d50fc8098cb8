"""Admission and priorities of the scheduler."""

from __future__ import annotations

from typing import NoReturn

import pytest
import torch

from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.engine.scheduler import (
    BACKGROUND_STEPS,
    LOWER_PRIORITY_SHARE,
    MAX_OVERTAKEN,
    PREFILL_SHARE,
    TYPING_SECONDS,
)
from pellucid.errors import QueueFullError
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.query import Priority, SamplingParams, Terms
from support.models.tiny_models import random_ids, tiny_llama, to_decoder
from support.models.worker_driver import Job, WorkerDriver

DECODER = to_decoder(tiny_llama())


def driver(slots: int = 2, chunk: int = 16, queue: int = 64) -> WorkerDriver:
    return WorkerDriver(DECODER, EngineSettings(slots=slots, context=128, chunk=chunk, queue=queue))


def request(
    priority: Priority, seed: int, length: int = 20, max_tokens: int = 4, deadline: float | None = None
) -> Request:
    return Request(
        random_ids(length, seed=seed), SamplingParams(max_tokens=max_tokens), Terms(priority, deadline=deadline)
    )


def running(job: Job) -> bool:
    return job.sequence.slot is not None


def test_a_slot_is_kept_for_a_completion() -> None:
    """Chats leave the last slot to a completion."""
    worker = driver(slots=2)
    chats = [worker.submit(request(Priority.CHAT, seed)) for seed in (1, 2)]
    worker.step()
    completion = worker.submit(request(Priority.COMPLETION, 3))
    worker.step()
    assert [running(job) for job in (*chats, completion)] == [True, False, True]


def test_higher_priority_first() -> None:
    """Waiting completions are admitted before chats, and chats before background requests."""
    worker = driver(slots=1)
    worker.submit(request(Priority.CHAT, 1))
    worker.step()
    background, chat, completion = (worker.submit(request(priority, 2 + priority)) for priority in reversed(Priority))
    order: list[Job] = []
    while worker.worker.busy:
        worker.step()
        order += [job for job in (background, chat, completion) if job.finish and job not in order]
    assert order == [completion, chat, background]


def test_nothing_starves() -> None:
    """A background request gets a turn even among endless completions."""
    worker = driver(slots=2)
    background = worker.submit(request(Priority.BACKGROUND, 0))
    seed = 0
    while background.finish is None:
        for _ in range(2 - len(worker.worker.scheduler.waiting)):
            seed += 1
            worker.submit(request(Priority.COMPLETION, seed))
        worker.step()
        assert seed < 50 * MAX_OVERTAKEN
    assert background.finish.reason is FinishReason.LENGTH


def test_a_long_prefill_does_not_stop_others() -> None:
    """While a long prompt is read in chunks, a running answer gets a token in every step."""
    worker = driver(slots=3, chunk=8)
    answer = worker.submit(request(Priority.CHAT, 1, length=4, max_tokens=40))
    worker.step()
    reader = worker.submit(request(Priority.CHAT, 2, length=100))
    while not reader.generated:
        before = len(answer.generated)
        worker.step()
        assert len(answer.generated) == before + 1


@pytest.mark.parametrize(
    ("answering", "reading", "read"),
    [
        (Priority.COMPLETION, Priority.COMPLETION, 96 // PREFILL_SHARE - 1),
        (Priority.CHAT, Priority.COMPLETION, 95),
        (Priority.CHAT, Priority.CHAT, 95),
    ],
)
def test_prefill_is_shorter_while_a_completion_decodes(answering: Priority, reading: Priority, read: int) -> None:
    """While a completion decodes, prefill steps are shorter, to keep the completion going."""
    worker = driver(slots=3, chunk=96)
    answer = worker.submit(request(answering, 1, length=4, max_tokens=20))
    worker.step()
    reader = worker.submit(request(reading, 2, length=100))
    worker.step()
    assert reader.sequence.computed == read
    assert len(answer.generated) == 2


def test_lower_prefill_continues_during_a_completion() -> None:
    """While a completion's prompt is read, each step reads a part of a chat's prompt, too."""
    worker = driver(slots=3, chunk=16)
    chat = worker.submit(request(Priority.CHAT, 1, length=100))
    completion = worker.submit(request(Priority.COMPLETION, 2, length=100))
    worker.step()
    assert completion.sequence.computed > chat.sequence.computed > 0


@pytest.mark.parametrize(("capability", "rows"), [("AVX512", 7), ("AVX2", 1)])
def test_lower_prefill_hardly_slows_a_running_completion(
    capability: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a completion decodes, a step reads only as many chat tokens as cost little."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    worker = driver(slots=3, chunk=96)
    completion = worker.submit(request(Priority.COMPLETION, 1, length=4, max_tokens=20))
    worker.step()
    chat = worker.submit(request(Priority.CHAT, 2, length=100))
    read = []
    for _ in range(10):
        before, generated = chat.sequence.computed, len(completion.generated)
        worker.step()
        read.append(chat.sequence.computed - before)
        assert len(completion.generated) > generated
    # A step with guessed tokens has fewer.
    assert max(read) == rows
    assert min(read) > 0


@pytest.mark.parametrize("length", [4, 100])
def test_background_work_hardly_slows_a_completion(length: int) -> None:
    """While a completion runs, background work gets a single token, in some steps only."""
    worker = driver(slots=3, chunk=96)
    reader = worker.submit(request(Priority.BACKGROUND, 1, length=100))
    completion = worker.submit(request(Priority.COMPLETION, 2, length=length, max_tokens=2 * BACKGROUND_STEPS))
    steps = 0
    while completion.finish is None:
        worker.step()
        steps += 1
    assert 0 < reader.sequence.computed <= steps // BACKGROUND_STEPS
    assert steps >= BACKGROUND_STEPS


def test_a_chat_and_the_background_share_what_a_completion_leaves() -> None:
    """While a completion decodes, a chat's prompt does not give the background more tokens."""
    worker = driver(slots=4, chunk=96)
    reader = worker.submit(request(Priority.BACKGROUND, 1, length=100))
    worker.submit(request(Priority.CHAT, 2, length=3, max_tokens=60))
    worker.submit(request(Priority.COMPLETION, 3, length=3, max_tokens=60))
    for _ in range(2 * BACKGROUND_STEPS):
        before = reader.sequence.computed
        worker.step()
        assert reader.sequence.computed <= before + 1
    assert reader.sequence.computed == 2


def test_the_background_is_not_held_back_from_a_slot_that_a_chat_needs() -> None:
    """Background work continues during a completion if a chat waits for the background's slot."""
    worker = driver(slots=2, chunk=96)
    reader = worker.submit(request(Priority.BACKGROUND, 1, length=20, max_tokens=60))
    worker.step()
    completion = worker.submit(request(Priority.COMPLETION, 2, length=3, max_tokens=60))
    worker.submit(request(Priority.CHAT, 3))
    while not reader.generated:
        worker.step()
    before = len(reader.generated)
    for _ in range(5):
        worker.step()
    assert len(reader.generated) >= before + 5
    assert completion.finish is None


def test_a_step_in_the_background_is_short() -> None:
    """A background step on a CPU has fewer tokens, so that giving up the step wastes little."""
    worker = driver(slots=3, chunk=96)
    reader = worker.submit(request(Priority.BACKGROUND, 1, length=100))
    worker.step()
    assert reader.sequence.computed == 96 // PREFILL_SHARE


def test_steps_are_short_while_the_user_types() -> None:
    """For some seconds after a completion, chats are read in short steps for the next one."""
    worker = driver(slots=3, chunk=96)
    worker.submit(request(Priority.COMPLETION, 1, length=4, max_tokens=1))
    worker.step()
    for seconds, read in ((0.0, 96 // PREFILL_SHARE), (TYPING_SECONDS - 1, 96 // PREFILL_SHARE), (TYPING_SECONDS, 96)):
        worker.clock.now = seconds
        chat = worker.submit(request(Priority.CHAT, 2 + int(seconds), length=100))
        worker.step()
        assert chat.sequence.computed == read
        worker.finish()


def test_the_rest_of_a_prompt_is_not_delayed_by_a_chat() -> None:
    """A completion with few uncached tokens shares the step with only a few tokens of a chat."""
    worker = driver(slots=3, chunk=96)
    chat = worker.submit(request(Priority.CHAT, 1, length=100))
    completion = worker.submit(request(Priority.COMPLETION, 2, length=14))
    worker.step()
    assert completion.sequence.computed == 14
    assert chat.sequence.computed == 14 // (LOWER_PRIORITY_SHARE - 1)


def test_guesses_are_for_the_most_urgent() -> None:
    """While a completion runs, no tokens are guessed for a chat, as checks would take longer."""
    worker = driver(slots=3)
    echo = random_ids(6, seed=4) * 5
    chat = worker.submit(Request(echo, SamplingParams(max_tokens=60, logit_bias={echo[0]: 50.0}), Terms(Priority.CHAT)))
    while len(chat.generated) < 3:
        worker.step()
    assert [chunk.guess != () for chunk in worker.worker.scheduler.schedule(0.0)] == [True]
    worker.submit(Request(random_ids(4), SamplingParams(max_tokens=60), Terms(Priority.COMPLETION)))
    worker.step()
    by_priority = {chunk.sequence.priority: chunk.guess for chunk in worker.worker.scheduler.schedule(0.0)}
    assert by_priority[Priority.CHAT] == ()


@pytest.mark.parametrize(("priority", "guessed"), [(Priority.COMPLETION, True), (Priority.CHAT, False)])
def test_guesses_during_a_prefill(priority: Priority, guessed: bool) -> None:
    """During a second prefill, a repetitive completion gets guesses, and a chat does not."""
    worker = driver(slots=3, chunk=16)
    echo = random_ids(6, seed=4) * 5
    answer = worker.submit(Request(echo, SamplingParams(max_tokens=60, logit_bias={echo[0]: 50.0}), Terms(priority)))
    while len(answer.generated) < 3:
        worker.step()
    worker.submit(request(priority, 2, length=100))
    worker.step()
    chunks = worker.worker.scheduler.schedule(0.0)
    assert [chunk.guess != () for chunk in chunks] == [guessed, False]
    assert sum(chunk.count for chunk in chunks) <= 16


def test_deadline() -> None:
    """A running or waiting request ends at the deadline."""
    worker = driver(slots=1)
    first = worker.submit(request(Priority.CHAT, 1, max_tokens=50, deadline=5.0))
    second = worker.submit(request(Priority.CHAT, 2, deadline=5.0))
    for _ in range(3):
        worker.step()
    worker.clock.now = 5.0
    worker.step()
    assert first.finish
    assert second.finish
    assert (first.finish.reason, second.finish.reason) == (FinishReason.DEADLINE, FinishReason.DEADLINE)
    assert len(first.generated) > 0
    assert second.finish.usage.queued == 5.0


def refused(job: Job) -> bool:
    return any(isinstance(item, QueueFullError) for item in job.items)


def test_full_queue() -> None:
    """The queue's limit excludes requests for free slots, and the next request is refused."""
    worker = driver(slots=2, queue=1)
    jobs = [worker.submit(request(Priority.COMPLETION, seed)) for seed in range(4)]
    assert [refused(job) for job in jobs] == [False, False, False, True]
    worker.step()
    assert refused(worker.submit(request(Priority.COMPLETION, 5)))


def test_the_next_keystroke_is_never_refused() -> None:
    """A superseding request is accepted even with a full queue."""
    worker = driver(slots=1, queue=1)
    keyed = Request(random_ids(5), SamplingParams(max_tokens=50), Terms(Priority.COMPLETION, "editor"))
    older = worker.submit(keyed)
    worker.step()
    worker.submit(request(Priority.COMPLETION, 2))
    newer = worker.submit(keyed)
    worker.finish()
    assert older.finish
    assert newer.finish
    assert (older.finish.reason, newer.finish.reason) == (FinishReason.SUPERSEDED, FinishReason.LENGTH)


class Broken:
    """A failing constraint."""

    hides_refused = False

    def allowed(self) -> NoReturn:
        raise ValueError("no such grammar")

    def advance(self, id: int) -> None:
        """Fail: the method is never called."""

    def forced(self) -> list[int]:
        return []


def test_a_failing_constraint_costs_its_own_request_only() -> None:
    """If a constraint raises, only the constrained request ends with the error."""
    worker = driver(slots=2)
    good = worker.submit(request(Priority.COMPLETION, 1))
    bad = worker.submit(
        Request(random_ids(20, seed=2), SamplingParams(max_tokens=4), Terms(Priority.COMPLETION), constraint=Broken())
    )
    worker.finish()
    assert good.finish
    assert bad.finish
    assert (good.finish.reason, bad.finish.reason) == (FinishReason.LENGTH, FinishReason.ERROR)
    assert bad.finish.error is not None
    assert "no such grammar" in bad.finish.error


def test_a_rewound_sequence_comes_before_prefills() -> None:
    """A sequence that computes an accepted guess again does not wait for an older prompt."""
    worker = driver(slots=3, chunk=4)
    sequence = worker.submit(request(Priority.CHAT, 2, length=3, max_tokens=9)).sequence
    cache = worker.worker.cache
    while sequence.generated < 4:
        worker.step()
    prompt = worker.submit(request(Priority.CHAT, 1, length=100))
    prompt.sequence.number = -1  # Older, but admitted later.
    assert sequence.slot is not None
    sequence.computed = cache.end_step(sequence.slot, 0, sequence.computed - 2)
    chunks = worker.worker.scheduler.schedule(0.0)
    assert [(chunk.sequence, chunk.count) for chunk in chunks] == [(sequence, 3), (prompt.sequence, 1)]
