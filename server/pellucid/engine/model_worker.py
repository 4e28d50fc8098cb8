"""The loop of one model: schedule, run, deliver."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pellucid.engine.batch_runner import Runner
from pellucid.engine.kv_cache.parked_prefixes import SavedPrefixes
from pellucid.engine.kv_cache.slot_cache import SlotCache
from pellucid.engine.kv_cache.state_buffers import StateBuffers, buffers_of, interval_of
from pellucid.engine.model import Interrupt, InterruptedStepError, Model
from pellucid.engine.scheduler import PREFILL_SHARE, PrefillChunk, Scheduler
from pellucid.engine.sequence import HiddenSum, Sequence
from pellucid.engine.status import SlotStatus, Totals, WorkerStatus
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import QueueFullError
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.query import Priority

CHUNKS = {"cpu": 192, "cuda": 512}
"""Tokens per step. Larger steps are no faster, and delay new requests.

Measured on two cores with half a billion weights: 192 tokens take 0.26 s; with 96 tokens per step,
prefill is 5 % slower.
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Limits of every model's worker.

    - ``slots``: sequences that run at once.
    - ``context``: maximum tokens per sequence, at most the model's own limit.
    - ``chunk``: tokens per step; 0 selects a number for the device.
    - ``queue``: maximum number of waiting requests.
    - ``lookup``: guess tokens from earlier text.
    - ``prefix_memory``: host memory in bytes for prefixes without a slot, shared by all workers.
    """

    slots: int = 8
    context: int = 8192
    chunk: int = 0
    queue: int = 64
    lookup: bool = True
    prefix_memory: int = 512 * 2**20

    def chunk_on(self, device: str) -> int:
        return self.chunk or CHUNKS["cpu" if device == "cpu" else "cuda"]

    def short_chunk_on(self, device: str) -> int:
        """Return the tokens of a step that may delay a completion."""
        chunk = self.chunk_on(device)
        return max(chunk // PREFILL_SHARE, 1) if device == "cpu" else chunk


def storage_bytes(settings: EngineSettings, model: Model) -> int:
    """Return the bytes that a worker allocates for keys, values and states."""
    shape, context = model.cache_shape, min(settings.context, model.context)
    states = buffers_of(shape, settings.slots, settings.prefix_memory)
    return settings.slots * context * shape.bytes_per_token + states * shape.state_bytes


@dataclass(eq=False)
class ModelWorker:
    """The scheduler, the cache and the runner of one model.

    Only the engine's thread calls the methods; any thread may read ``status``. ``saved`` keeps
    parked prefixes across restarts.
    """

    model: Model
    settings: EngineSettings
    clock: Callable[[], float]
    saved: SavedPrefixes | None = None
    passed_over: int = 0
    status: WorkerStatus = field(init=False)

    def __post_init__(self) -> None:
        self.context = min(self.settings.context, self.model.context)
        shape, settings = self.model.cache_shape, self.settings
        chunk, short = settings.chunk_on(shape.device), settings.short_chunk_on(shape.device)
        count = buffers_of(shape, settings.slots, settings.prefix_memory)
        storage = self.model.new_storage(settings.slots, self.context, count)
        states = StateBuffers(count, settings.slots, interval_of(shape)) if count else None
        self.cache = SlotCache(storage, shape, settings.slots, self.context, settings.prefix_memory, states)
        if self.saved is not None:
            self.cache.parked.fill(self.saved.read())
        self.scheduler = Scheduler(self.cache, chunk, short, self.model.cheap_rows, lookup=settings.lookup)
        self._runner = Runner(self.model, self.cache)
        self._totals = Totals()
        self.report()

    @property
    def busy(self) -> bool:
        return self.scheduler.busy

    @property
    def sequences(self) -> list[Sequence]:
        return [*self.scheduler.waiting, *self.scheduler.running]

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence, or deliver a QueueFullError."""
        if len(self.scheduler.waiting) >= self.settings.queue + self.cache.free:
            waiting = len(self.scheduler.waiting)
            sequence.deliver(
                QueueFullError(f"{waiting} requests are already waiting: try again later, or raise the queue limit.")
            )
            return
        self.scheduler.add(sequence)
        self.report()

    def supersede(self, key: str) -> None:
        for sequence in self.sequences:
            if sequence.request.terms.key == key:
                self.end(sequence, FinishReason.SUPERSEDED)
        self.report()

    def cancel(self, number: int) -> None:
        for sequence in self.sequences:
            if sequence.number == number:
                self.end(sequence, FinishReason.CANCELLED)
        self.report()

    def step(self, interrupt: Interrupt | None = None) -> bool:
        """Schedule, run, deliver. A failure ends only the sequences in the step.

        ``interrupt`` ends a step of background work without results: return False; a later step
        repeats the work.
        """
        self._expire()
        chunks = self.scheduler.schedule(self.clock())
        urgent = any(chunk.sequence.priority < Priority.BACKGROUND for chunk in chunks)
        done = True
        try:
            self._run(chunks, None if urgent else interrupt)
        except InterruptedStepError:
            self._rewind(chunks)
            done = False
        except Exception as error:
            # A failure must affect only the requests of the step.
            logger.exception("a step failed")
            for chunk in chunks:
                if chunk.sequence.slot is not None:
                    self.cache.forget(chunk.sequence.slot)
                    self.end(chunk.sequence, FinishReason.ERROR, f"The model failed while computing: {error}")
        for sequence in [s for s in self.scheduler.running if s.computed == len(s.ids) and not s.wants_token]:
            self.end(sequence, FinishReason.LENGTH)
        self._totals.steps += done
        self.report()
        return done

    def end(self, sequence: Sequence, reason: FinishReason, error: str | None = None) -> None:
        if (sequence.request.pool or not sequence.request.keep) and sequence.slot is not None:
            self.cache.forget(sequence.slot)
        self.scheduler.remove(sequence)
        self._totals.finished += 1
        self._totals.cached += sequence.cached
        sequence.finish(reason, self.clock(), error)

    def end_all(self, reason: FinishReason) -> None:
        for sequence in self.sequences:
            self.end(sequence, reason)
        self.report()

    def save(self) -> None:
        """Write all slots and parked prefixes to ``saved``. No sequence may be running."""
        if self.saved is not None:
            self.cache.park_all()
            if self.cache.parked.changed:
                self.saved.write(self.cache.parked.newest_first)

    def report(self) -> None:
        running = {sequence.slot: sequence for sequence in self.scheduler.running}
        slots = tuple(
            SlotStatus(
                slot,
                self.cache.length(slot),
                True,
                running[slot].priority,
                running[slot].generated,
                self.cache.cache_salt(slot),
            )
            if slot in running
            else SlotStatus(slot, self.cache.length(slot), False, cache_salt=self.cache.cache_salt(slot))
            for slot in range(self.cache.slots)
        )
        self.status = WorkerStatus(
            slots=slots,
            running=len(self.scheduler.running),
            waiting=len(self.scheduler.waiting),
            limit=self.settings.slots + self.settings.queue,
            cache_bytes=self.cache.bytes,
            cache_limit=self.cache.limit,
            parked_bytes=self.cache.parked.bytes,
            parked_limit=self.cache.parked.budget,
            totals=replace(self._totals),
        )

    def check(self) -> None:
        self.scheduler.check()

    def _expire(self) -> None:
        now = self.clock()
        for sequence in self.sequences:
            if sequence.expired(now):
                self.end(sequence, FinishReason.DEADLINE)

    def _run(self, chunks: list[PrefillChunk], interrupt: Interrupt | None) -> None:
        if not chunks:
            return
        results = self._runner.run(chunks, interrupt)
        for chunk in chunks:
            sequence = chunk.sequence
            assert sequence.slot is not None
            self.cache.extend(sequence.slot, sequence.ids[chunk.start : chunk.end])
            sequence.computed = chunk.end
            self._totals.computed += max(min(chunk.end, len(sequence.prompt)) - chunk.start, 0)
        for sequence, score in results:
            if sequence.slot is None:
                continue  # The sequence ended at an earlier token.
            if isinstance(score, TokenScore):
                self._take(sequence, score)
            elif isinstance(score, HiddenSum):
                sequence.deliver(score)
            else:
                self.end(sequence, FinishReason.ERROR, f"The next token could not be sampled: {score}")
        for chunk in chunks:
            if chunk.guess:
                right = chunk.sequence.computed - chunk.end
                chunk.sequence.lookup.learn(len(chunk.guess), right)
                self._totals.guessed += len(chunk.guess)
                self._totals.right += right
        self._rewind(chunks)

    def _rewind(self, chunks: list[PrefillChunk]) -> None:
        """Return running sequences to their last states: a rejected guess changed later states."""
        for chunk in chunks:
            sequence = chunk.sequence
            if sequence.slot is not None:
                sequence.computed = self.cache.end_step(sequence.slot, chunk.start, sequence.computed)

    def _take(self, sequence: Sequence, score: TokenScore) -> None:
        if score.position > sequence.computed:  # The tokens before were guessed.
            assert sequence.slot is not None
            self.cache.extend(sequence.slot, sequence.ids[sequence.computed : score.position])
            sequence.computed = score.position
        if score.sampled is None:
            sequence.deliver(score)
            return
        if sequence.first_token is None:
            sequence.first_token = self.clock()
        if score.id in sequence.request.stop_ids and not sequence.request.params.ignore_eos:
            self.end(sequence, FinishReason.STOP)
            return
        sequence.ids.append(score.id)
        self._totals.generated += 1
        if sequence.request.prediction and sequence.lookup.follows(score.id):
            sequence.accepted += 1
            score = replace(score, predicted=True)
        sequence.deliver(score)
        if not sequence.wants_token:
            self.end(sequence, FinishReason.LENGTH)
