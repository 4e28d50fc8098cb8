"""The workers of an engine, including workers of removed models with unfinished requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Thread

from pellucid.engine.model_worker import ModelWorker
from pellucid.engine.scheduler import BACKGROUND_STEPS
from pellucid.errors import unknown_model
from pellucid.vocabulary.query import Priority

MAX_PASSED_OVER = 4
"""Maximum steps that a busy worker is passed over; BACKGROUND_STEPS for a completion."""


class Workers:
    """Only the engine's thread changes the workers; any thread may find a worker.

    The workers in ``by_name`` share ``prefix_memory``. A worker in ``leaving`` has a future, done
    after the last request.
    """

    def __init__(self, by_name: Mapping[str, ModelWorker], prefix_memory: int, clock: Callable[[], float]) -> None:
        # Replaced, never modified, so that readers see a complete mapping.
        self.by_name = by_name
        self.leaving: list[tuple[ModelWorker, Future[None]]] = []
        self._saving: list[Thread] = []
        self._prefix_memory = prefix_memory
        self._clock = clock

    def find(self, model: str) -> ModelWorker:
        workers = self.by_name
        if model not in workers:
            raise unknown_model(model, workers)
        return workers[model]

    def all(self) -> list[ModelWorker]:
        return [*self.by_name.values(), *(worker for worker, _ in self.leaving)]

    def replace(self, name: str, worker: ModelWorker | None, done: Future[None]) -> None:
        """Replace or remove a worker; ``done`` is set after the old worker's last request."""
        workers = dict(self.by_name)
        old = workers.pop(name, None)
        if worker is not None:
            workers[name] = worker
            if old is not None:
                old.saved = None  # The new worker keeps its own prefixes in the file.
        self.by_name = workers
        if old is None:
            done.set_result(None)
        else:
            self.leaving.append((old, done))
        for remaining in workers.values():
            remaining.cache.resize_parked(self._prefix_memory // len(workers))
            remaining.report()

    def drop_finished(self) -> None:
        """Remove the workers without requests; a thread saves their prefixes."""
        finished = [(worker, done) for worker, done in self.leaving if not worker.busy]
        if finished:
            self.leaving = [(worker, done) for worker, done in self.leaving if worker.busy]
        self._saving = [thread for thread in self._saving if thread.is_alive()]
        for worker, done in finished:
            self._saving.append(Thread(target=_save, args=(worker, done)))
            self._saving[-1].start()

    def wait_until_saved(self) -> None:
        for thread in self._saving:
            thread.join()

    def next(self) -> ModelWorker | None:
        """Return the busy worker with the most urgent work, or a worker passed over too often."""
        busy = [worker for worker in self.all() if worker.busy]
        if not busy:
            return None
        completing = min(worker.scheduler.urgency for worker in busy) == Priority.COMPLETION
        if completing:
            for worker in busy:
                worker.scheduler.note_typing(self._clock())

        def order(worker: ModelWorker) -> tuple[bool, Priority, int]:
            urgency = worker.scheduler.urgency
            most = BACKGROUND_STEPS if completing and urgency > Priority.COMPLETION else MAX_PASSED_OVER
            return worker.passed_over < most, urgency, -worker.passed_over

        chosen = min(busy, key=order)
        for worker in busy:
            worker.passed_over += worker is not chosen
        return chosen


def _save(worker: ModelWorker, done: Future[None]) -> None:
    try:
        worker.save()
    finally:
        done.set_result(None)
