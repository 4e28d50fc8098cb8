"""The generation core: one thread owns every model's lane; others post messages and get tokens through their event loops."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from types import MappingProxyType

from pellucid.engine.messages import Add, Cancel, Close, Message, PostOffice, Remove, Submit, promise
from pellucid.engine.model import Model
from pellucid.engine.model_worker import EngineSettings, ModelWorker, WorkerStatus
from pellucid.engine.parked_prefixes import SavedPrefixes
from pellucid.engine.request import Admission, Request, TokenScore
from pellucid.engine.sequence import Item, Sequence
from pellucid.errors import ContextLengthError, InvalidRequestError, NotFoundError, UnavailableError
from pellucid.tokens import Finish, FinishReason

MOST_PASSED_OVER = 4
"""How often a busy lane may be passed over by one with more urgent work."""

FAILED = "The engine has failed and serves nothing any more: restart the server, its log says why."

logger = logging.getLogger(__name__)


class Engine:
    """Serves requests of any number of models, one step of one model at a time: they share the processor, not the batch.

    The memory for parked prefixes is shared evenly by all models; ``saved`` says of a model where these are read from, and
    written to when the engine is closed.
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
        # Only the thread replaces it, by another dictionary: whoever else reads it sees it whole.
        self._lanes = {name: ModelWorker(model, share, clock, saved.get(name)) for name, model in models.items()}
        self._leaving: list[tuple[ModelWorker, Future[None]]] = []  # lanes that have been removed, and finish what they had begun
        self._numbers = itertools.count()
        self._mail: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.failure: Exception | None = None
        """What ended the thread, if it did not end by itself: nothing is served any more."""
        self._closing = False
        self._gate = threading.Lock()  # no message follows the one that closes
        self._post_office = PostOffice()
        self._thread = threading.Thread(target=self._work, name="pellucid-engine", daemon=True)
        self._thread.start()

    async def generate(self, model: str, request: Request) -> AsyncGenerator[Admission | TokenScore | Finish]:
        """An Admission, scores of the prompt tokens that were asked for, then of the generated ones, then a Finish.

        Closing the generator cancels the request within one step. Raises NotFoundError, InvalidRequestError,
        ContextLengthError, QueueFullError or UnavailableError before the first item.
        """
        self._validate(model, request)
        inbox: asyncio.Queue[Item] = asyncio.Queue()
        number = next(self._numbers)
        deliver = self._post_office.box(asyncio.get_running_loop(), inbox)
        self._submit(Submit(number, model, request, deliver))
        finished = False
        try:
            while not finished:
                item = await inbox.get()
                finished = not isinstance(item, (Admission, TokenScore))
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            if not finished:
                self._mail.put(Cancel(number))

    def add_model(self, name: str, model: Model, *, slots: int = 0, saved: SavedPrefixes | None = None) -> Future[None]:
        """Serve another model, from when the future is done; 0 ``slots`` are as many as the settings say.

        What runs is not disturbed. A model of the same name is replaced: it is removed as ``remove_model`` removes it.
        Raises UnavailableError, and RuntimeError or MemoryError where there is no memory for the cache, which is made here.
        """
        lanes = len(self._lanes) + (name not in self._lanes)
        share = replace(self.settings, slots=slots or self.settings.slots, prefix_memory=self.settings.prefix_memory // lanes)
        message = Add(name, ModelWorker(model, share, self._clock, saved), promise())
        self._submit(message)
        return message.done

    def remove_model(self, name: str) -> Future[None]:
        """Take no new requests for a model. Those that it has are served, and then its memory is freed and the future done.

        Raises NotFoundError for an unknown model, and UnavailableError.
        """
        self._lane(name)
        message = Remove(name, promise())
        self._submit(message)
        return message.done

    def model(self, name: str) -> Model:
        """The model of this name; it belongs to the engine's thread, and others only read what it says of itself."""
        return self._lane(name).model

    def context(self, model: str) -> int:
        """How many tokens a sequence of this model may have."""
        return self._lane(model).context

    def status(self, model: str) -> WorkerStatus:
        """What this model's lane was doing at the end of its last step."""
        return self._lane(model).status

    def close(self) -> None:
        """End all requests (their last item says cancelled), save the parked prefixes, and end the thread."""
        with self._gate:
            self._closing = True
            self._mail.put(Close())
        self._thread.join()

    def _submit(self, message: Submit | Add | Remove) -> None:
        with self._gate:
            if self._closing:
                raise UnavailableError("The server is shutting down." if self.failure is None else FAILED)
            self._mail.put(message)

    def _lane(self, model: str) -> ModelWorker:
        lanes = self._lanes
        if model not in lanes:
            raise self._unknown(model)
        return lanes[model]

    def _unknown(self, model: str) -> NotFoundError:
        return NotFoundError(f"There is no model {model!r} here; there is {', '.join(self._lanes)}.")

    @property
    def _working(self) -> list[ModelWorker]:
        """All lanes, with those that finish what they had begun."""
        return [*self._lanes.values(), *(lane for lane, _ in self._leaving)]

    def _validate(self, model: str, request: Request) -> None:
        lane = self._lane(model)
        if not request.prompt:
            raise InvalidRequestError("The prompt is empty: give at least one token.", param="prompt")
        for ids, param in ((request.prompt, "prompt"), (request.params.logit_bias, "logit_bias")):
            wrong = next((id for id in ids if not 0 <= id < lane.model.vocab_size), None)
            if wrong is not None:
                raise InvalidRequestError(f"Token {wrong} does not exist: ids go from 0 to {lane.model.vocab_size - 1}.", param=param)
        if len(request.prompt) + (request.params.max_tokens > 0) > lane.context:
            raise ContextLengthError(len(request.prompt), lane.context, all_there_is=lane.context >= lane.model.context)
        if request.score_from is not None and not 0 <= request.score_from <= len(request.prompt):
            raise InvalidRequestError(f"score_from must be between 0 and the prompt's {len(request.prompt)} tokens.", param="score_from")

    def _work(self) -> None:
        """The thread: read the mail, take a step, send what came of it."""
        try:
            while self._read_mail():
                lane = self._next_lane()
                if lane is not None:
                    lane.step()
                    self._post_office.send()
                self._let_go()
            for lane in self._working:
                lane.end_all(FinishReason.CANCELLED)
            self._let_go()
            self._post_office.send()  # nobody waits for the disk
            for lane in self._lanes.values():
                lane.save()
        except Exception as error:
            logger.exception("the engine failed")
            self._fail(error)
        self._post_office.send()

    def _fail(self, error: Exception) -> None:
        """Tell everybody, once the engine's own state cannot be trusted any more, rather than let them wait for ever."""
        with self._gate:
            self.failure = error
            self._closing = True
        for lane in self._working:
            for sequence in lane.sequences:
                sequence.finish(FinishReason.ERROR, self._clock(), FAILED)
        for _, done in self._leaving:
            done.set_exception(UnavailableError(FAILED))
        while not self._mail.empty():
            message = self._mail.get()
            if isinstance(message, Submit):
                message.deliver(UnavailableError(FAILED))
            elif isinstance(message, Add | Remove):
                message.done.set_exception(UnavailableError(FAILED))

    def _read_mail(self) -> bool:
        """Handle all messages, waiting for one if there is nothing else to do; False when it is time to leave."""
        if not any(lane.busy for lane in self._working):
            for lane in self._working:
                lane.check()
            if not self._handle(self._mail.get()):
                return False
        while True:
            try:
                message = self._mail.get_nowait()
            except queue.Empty:
                return True
            if not self._handle(message):
                return False

    def _handle(self, message: Message) -> bool:
        match message:
            case Submit(number, model, request, deliver):
                if request.terms.key is not None:
                    for lane in self._working:
                        lane.supersede(request.terms.key)
                if model in self._lanes:
                    lane = self._lanes[model]
                    lane.submit(Sequence(request, number, deliver, self._clock(), lane.context))
                else:  # it was removed since
                    deliver(self._unknown(model))
            case Cancel(number):
                for lane in self._working:
                    lane.cancel(number)
            case Add(name, lane, done):
                self._replace(name, lane, promise())
                done.set_result(None)
            case Remove(name, done):
                self._replace(name, None, done)
            case Close():
                return False
        self._post_office.send()
        return True

    def _replace(self, name: str, lane: ModelWorker | None, done: Future[None]) -> None:
        """Put a lane in the place of another, or none; ``done`` is for when the old one has finished."""
        lanes = dict(self._lanes)
        old = lanes.pop(name, None)
        if lane is not None:
            lanes[name] = lane
        self._lanes = lanes
        if old is None:
            done.set_result(None)
        else:
            self._leaving.append((old, done))
        for each in lanes.values():
            each.cache.parked.resize(self.settings.prefix_memory // len(lanes))
            each.report()

    def _let_go(self) -> None:
        """Forget the lanes that have finished, and with them their memory."""
        finished = [done for lane, done in self._leaving if not lane.busy]
        if finished:
            self._leaving = [(lane, done) for lane, done in self._leaving if lane.busy]
        for done in finished:
            done.set_result(None)

    def _next_lane(self) -> ModelWorker | None:
        """The busy lane with the most urgent work, or one that was passed over too often."""
        busy = [lane for lane in self._working if lane.busy]
        if not busy:
            return None
        chosen = min(busy, key=lambda lane: (lane.passed_over < MOST_PASSED_OVER, lane.scheduler.urgency, -lane.passed_over))
        for lane in busy:
            lane.passed_over += 1
        chosen.passed_over = 0
        return chosen
