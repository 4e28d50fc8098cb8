"""The engine that computes in this process.

One thread owns all workers. Other threads post messages and receive tokens in their event loops.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import replace
from types import MappingProxyType
from typing import cast

import numpy as np

from pellucid.engine.kv_cache.parked_prefixes import SavedPrefixes
from pellucid.engine.model import Interrupt, Model
from pellucid.engine.model_worker import EngineSettings, ModelWorker
from pellucid.engine.port import FAILED, HiddenVector
from pellucid.engine.request import Admission, Request
from pellucid.engine.sequence import HiddenSum, Item, Sequence
from pellucid.engine.status import WorkerStatus
from pellucid.engine.token_scores import TokenScore
from pellucid.engine.worker_messages import Add, Cancel, Close, Message, Outbox, Remove, Submit, promise
from pellucid.engine.workers import Workers
from pellucid.errors import ContextLengthError, InvalidRequestError, NotFoundError, NotSupportedError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import Priority

logger = logging.getLogger(__name__)


class LocalEngine:
    """Serves any number of models, one step of one model at a time.

    The models share the processor, not the batch, and share prefix memory evenly. Prefixes are read
    from ``saved`` at the start, and written to ``saved`` at ``close``.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        settings: EngineSettings,
        clock: Callable[[], float] = time.monotonic,
        saved: Mapping[str, SavedPrefixes] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self._clock = clock
        share = replace(settings, prefix_memory=settings.prefix_memory // max(len(models), 1))
        workers = {name: ModelWorker(model, share, clock, saved.get(name)) for name, model in models.items()}
        self._workers = Workers(workers, settings.prefix_memory, clock)
        self._numbers = itertools.count()
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.failure: Exception | None = None
        """The exception that ended the thread."""
        self._closing = False
        self._gate = threading.Lock()  # Ensures that Close is the last message.
        self._outbox = Outbox()
        self._interrupt = Interrupt()
        self._thread = threading.Thread(target=self._work, name="pellucid-engine", daemon=True)
        self._thread.start()

    def generate(self, model: str, request: Request) -> AsyncGenerator[Admission | TokenScore | Finish]:
        # Without ``pool``, no HiddenSum is yielded.
        assert not request.pool
        return cast("AsyncGenerator[Admission | TokenScore | Finish]", self._run(model, request))

    async def sum_hidden(self, model: str, request: Request) -> tuple[HiddenVector, Finish]:
        assert request.pool
        size = self.hidden_size(model)
        total = np.zeros(size)
        async with aclosing(self._run(model, request)) as items:
            async for item in items:
                if isinstance(item, HiddenSum):
                    total += item.values
                elif isinstance(item, Finish):
                    return total, item
        raise AssertionError("the engine's last item is a Finish")

    def hidden_size(self, model: str) -> int:
        size = self.model(model).hidden_size
        if size is None:
            raise NotSupportedError(f"{model} gives no hidden states, so it has no embeddings: use another model.")
        return size

    def uses_predictions(self, model: str) -> bool:
        self.model(model)
        return self.settings.lookup

    async def _run(self, model: str, request: Request) -> AsyncGenerator[Admission | TokenScore | HiddenSum | Finish]:
        self._validate(model, request)
        inbox: asyncio.Queue[Item] = asyncio.Queue()
        number = next(self._numbers)
        deliver = self._outbox.sender(asyncio.get_running_loop(), inbox)
        self._submit(Submit(number, model, request, deliver))
        finished = False
        try:
            while not finished:
                item = await inbox.get()
                finished = isinstance(item, (Finish, Exception))
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            if not finished:
                self._messages.put(Cancel(number))

    def add_model(
        self, name: str, model: Model, *, slots: int = 0, context: int = 0, saved: SavedPrefixes | None = None
    ) -> Future[None]:
        """Serve another model, starting when the future is done.

        0 ``slots`` or ``context`` means the number in the settings. A model of the same name is
        replaced (see ``remove_model``). The KV cache is allocated here: raises RuntimeError or
        MemoryError if memory is short, and UnavailableError.
        """
        count = len({*self._workers.by_name, name})
        share = replace(
            self.settings,
            slots=slots or self.settings.slots,
            context=context or self.settings.context,
            prefix_memory=self.settings.prefix_memory // count,
        )
        message = Add(name, ModelWorker(model, share, self._clock, saved), promise())
        self._submit(message)
        return message.done

    def remove_model(self, name: str) -> Future[None]:
        """Refuse new requests for a model; the future is done after its last request.

        The model's memory is then free.
        """
        self._workers.find(name)
        message = Remove(name, promise())
        self._submit(message)
        return message.done

    def model(self, name: str) -> Model:
        """Return a model. Only the engine's thread may do more than read properties."""
        return self._workers.find(name).model

    def context(self, model: str) -> int:
        return self._workers.find(model).context

    def status(self, model: str) -> WorkerStatus:
        return self._workers.find(model).status

    def close(self) -> None:
        with self._gate:
            self._closing = True
            self._messages.put(Close())
        self._thread.join()
        self._workers.wait_until_saved()

    def _submit(self, message: Submit | Add | Remove) -> None:
        with self._gate:
            if self._closing:
                raise UnavailableError("The server is shutting down." if self.failure is None else FAILED)
            self._messages.put(message)
        if isinstance(message, Submit) and message.request.terms.priority < Priority.BACKGROUND:
            self._interrupt.set()

    def _validate(self, model: str, request: Request) -> None:
        worker = self._workers.find(model)
        if not request.prompt:
            raise InvalidRequestError("The prompt is empty: send at least one token.", param="prompt")
        written = [id for id in request.prompt if id >= 0] if request.embedded else request.prompt
        for ids, param in ((written, "prompt"), (request.params.logit_bias, "logit_bias")):
            wrong = next((id for id in ids if not 0 <= id < worker.model.vocab_size), None)
            if wrong is not None:
                raise InvalidRequestError(
                    f"Token {wrong} does not exist: use ids from 0 to {worker.model.vocab_size - 1}.", param=param
                )
        if len(request.prompt) + (request.params.max_tokens > 0) > worker.context:
            raise ContextLengthError(
                len(request.prompt), worker.context, all_there_is=worker.context >= worker.model.context
            )
        if request.score_from is not None and not 0 <= request.score_from <= len(request.prompt):
            raise InvalidRequestError(
                f"score_from must be between 0 and the prompt's {len(request.prompt)} tokens.", param="score_from"
            )

    def _work(self) -> None:
        try:
            while self._handle_messages():
                worker = self._workers.next()
                if worker is not None:
                    passed_over, worker.passed_over = worker.passed_over, 0
                    if not worker.step(self._interrupt):
                        worker.passed_over = passed_over
                    self._outbox.flush()
                self._workers.drop_finished()
            for worker in self._workers.all():
                worker.end_all(FinishReason.CANCELLED)
            self._workers.drop_finished()
            self._outbox.flush()  # Before writing to disk, so no caller waits.
            for worker in self._workers.by_name.values():
                worker.save()
        except Exception as error:
            logger.exception("the engine failed")
            self._fail(error)
        self._outbox.flush()

    def _fail(self, error: Exception) -> None:
        """Fail all requests: the state is unreliable, and callers must not wait forever."""
        with self._gate:
            self.failure = error
            self._closing = True
        for worker in self._workers.all():
            for sequence in worker.sequences:
                sequence.finish(FinishReason.ERROR, self._clock(), FAILED)
        for _, done in self._workers.leaving:
            done.set_exception(UnavailableError(FAILED))
        while not self._messages.empty():
            message = self._messages.get()
            if isinstance(message, Submit):
                message.deliver(UnavailableError(FAILED))
            elif isinstance(message, Add | Remove):
                message.done.set_exception(UnavailableError(FAILED))

    def _handle_messages(self) -> bool:
        """Handle all messages; wait for a message if there is no work. Return False after Close."""
        # Clear before reading messages: an interrupt of an unread message must not be lost.
        self._interrupt.clear()
        if not any(worker.busy for worker in self._workers.all()):
            for worker in self._workers.all():
                worker.check()
            if not self._handle(self._messages.get()):
                return False
        while True:
            try:
                message = self._messages.get_nowait()
            except queue.Empty:
                return True
            if not self._handle(message):
                return False

    def _handle(self, message: Message) -> bool:
        match message:
            case Submit(number, model, request, deliver):
                if request.terms.key is not None:
                    for worker in self._workers.all():
                        worker.supersede(request.terms.key)
                try:
                    worker = self._workers.find(model)
                except NotFoundError as error:  # The model has been removed.
                    deliver(error)
                else:
                    worker.submit(Sequence(request, number, deliver, self._clock(), worker.context))
            case Cancel(number):
                for worker in self._workers.all():
                    worker.cancel(number)
            case Add(name, worker, done):
                self._workers.replace(name, worker, promise())
                done.set_result(None)
            case Remove(name, done):
                self._workers.replace(name, None, done)
            case Close():
                return False
        self._outbox.flush()
        return True
