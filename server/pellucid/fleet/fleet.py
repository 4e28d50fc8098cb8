"""A remote engine made of replicas. Another replica resumes the answers of a lost replica."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

from pellucid.engine.port import HiddenVector
from pellucid.engine.request import Admission, ConstraintError, Request
from pellucid.engine.status import Totals, WorkerStatus
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import (
    ContextLengthError,
    InvalidRequestError,
    NotSupportedError,
    PellucidError,
    QueueFullError,
    unknown_model,
)
from pellucid.fleet.admission import GateClosedError
from pellucid.fleet.loop_lag import LoopLag
from pellucid.fleet.replica import ReplicaBusyError, ReplicaLostError
from pellucid.fleet.replica_scores import missing_scores
from pellucid.fleet.replicas import Replicas
from pellucid.fleet.running_request import RequestEndError, RunningRequest
from pellucid.fleet.vllm_wire import check_params
from pellucid.vocabulary.finish import Finish, FinishReason

PATIENCE_SECONDS = 10.0
"""Time that requests wait after the start or the loss of the last replica.

Lost replicas are checked every two seconds, and a router has further engines.
"""

MAX_LAG_SECONDS = 0.1
"""Lag of the event loop from which requests are refused, before answers pile up."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FleetAdapter:
    """An adapter called ``name`` on replicas, for the model ``base:name``.

    ``revision`` identifies the weights.
    """

    base: str
    name: str
    revision: str


class Fleet:
    """An ``Engine`` made of replicas, each with some of the models.

    ``vocabularies`` are the vocabulary sizes, ``context`` the maximum length of a sequence.
    Requests wait up to ``patience`` seconds after the start or the loss of the last replica. Use
    the fleet from a single event loop.
    """

    def __init__(self, vocabularies: Mapping[str, int], context: int, patience: float = PATIENCE_SECONDS) -> None:
        self.failure: Exception | None = None
        self.replicas = Replicas(patience)
        self._vocabularies = dict(vocabularies)
        self._context = context
        self._adapters: dict[str, FleetAdapter] = {}
        self._removed: dict[str, Future[None]] = {}  # Adapters with running answers
        self._newest: dict[str, RunningRequest] = {}
        self._running: set[RunningRequest] = set()
        self._lag = LoopLag(self._running)
        self._totals = {name: Totals() for name in vocabularies}

    def context(self, model: str) -> int:
        """Return the maximum length of a sequence: the minimum over all replicas.

        The maximum is one token below a replica's limit, because a replica always generates a
        token.
        """
        self._check(model)
        limits = (replica.context(model) for replica in self.replicas.values())
        return min([self._context, *(limit - 1 for limit in limits if limit is not None)])

    def uses_predictions(self, model: str) -> bool:
        """Return False: a remote engine accepts no predictions."""
        self._check(model)
        return False

    def hidden_size(self, model: str) -> int:
        self._check(model)
        raise NotSupportedError(
            f"Remote engines compute {model} and give no hidden states, so {model} has no embeddings."
        )

    async def sum_hidden(self, model: str, request: Request) -> tuple[HiddenVector, Finish]:
        self.hidden_size(model)
        raise AssertionError("it raises")

    def add_adapter(self, model: str, adapter: FleetAdapter) -> None:
        self._adapters[model] = adapter
        self._vocabularies[model] = self._vocabularies[adapter.base]
        self._totals.setdefault(model, Totals())

    def remove_model(self, name: str) -> Future[None]:
        """Take no new requests for an adapter. The future is done after the last answer.

        Raises NotSupportedError for other models: replicas decide which models are served.
        """
        self._check(name)
        if name not in self._adapters:
            raise NotSupportedError(f"Remote engines compute {name}: unload the adapter from the engines.")
        ended = self._removed[name] = Future()
        self._forget_removed(name)
        return ended

    def is_removed(self, model: str) -> bool:
        return model in self._removed

    def running(self, model: str) -> int:
        return sum(run.model == model for run in self._running)

    def status(self, model: str) -> WorkerStatus:
        """Return the requests of all replicas of this model. Slots and memory are unknown."""
        self._check(model)
        gates = [replica.gate for replica in self.replicas.serving(model)]
        return WorkerStatus(
            slots=(),
            running=sum(gate.running for gate in gates),
            waiting=sum(gate.waiting for gate in gates),
            limit=sum(gate.limit for gate in gates),
            cache_bytes=0,
            cache_limit=0,
            parked_bytes=0,
            parked_limit=0,
            totals=self._totals[model],
        )

    async def generate(self, model: str, request: Request) -> AsyncGenerator[Admission | TokenScore | Finish]:
        """Yield an Admission, the requested prompt scores, the answer's scores, and a Finish.

        Closing the generator cancels the request. Raises NotFoundError, InvalidRequestError,
        ContextLengthError, QueueFullError or UnavailableError before the first score. Later, an
        error is reported in the Finish.
        """
        self._validate(model, request)
        if self._lag.seconds() > MAX_LAG_SECONDS:
            raise QueueFullError("This server is overloaded: try again later, or start another front.")
        key, deadline = request.terms.key, request.terms.deadline
        at = None if deadline is None else asyncio.get_running_loop().time() + deadline
        run = RunningRequest(model, request, self.context(model), request.session or key or uuid4().hex, at)
        if key is not None:
            if key in self._newest:
                self._newest[key].end(FinishReason.SUPERSEDED)
            self._newest[key] = run
        self._running.add(run)
        self._lag.start()
        reason, error = FinishReason.LENGTH, None
        try:
            try:
                async with aclosing(self._items(run)) as items:
                    async for item in items:
                        yield item
            except RequestEndError as ended:
                reason = ended.reason
            except ConstraintError as failed:
                reason, error = FinishReason.ERROR, str(failed)
            except PellucidError as failed:
                if not run.has_delivered:
                    raise
                reason, error = FinishReason.ERROR, str(failed)
            if run.admitted is None:
                yield _admit(run)
            yield Finish(reason, run.usage(), error=error)
        finally:
            self._running.discard(run)
            if key is not None and self._newest.get(key) is run:
                del self._newest[key]
            self._count(run)
            self._forget_removed(run.model)

    def close(self) -> None:
        """Take no new requests, and cancel running requests."""
        self.replicas.closing = True
        for run in self._running:
            run.end(FinishReason.CANCELLED)

    async def _items(self, run: RunningRequest) -> AsyncGenerator[Admission | TokenScore]:
        """Yield the admission and all scores.

        Raises RequestEndError if the answer ends for a reason other than its length.
        """
        while True:
            replica = await self.replicas.available(run)
            try:
                async with replica.gate.admitted(run.request.terms.priority, run.wait):
                    if replica.problem is not None or replica.context(run.model) is None:
                        continue  # The replica was removed at the same time.
                    if run.admitted is None:
                        yield _admit(run)
                    adapter, vocab = self._adapters.get(run.model), self._vocabularies[run.model]
                    name, revision = (run.model, "") if adapter is None else (adapter.name, adapter.revision)
                    try:
                        async with aclosing(missing_scores(run, replica, vocab, name, revision)) as scores:
                            async for score in scores:
                                yield score
                        return
                    except ReplicaLostError as error:
                        # Before the slot goes to a waiting request.
                        await self.replicas.note_lost(run, replica, error, is_adapter=adapter is not None)
                        lost = error
            except GateClosedError:
                continue
            except ReplicaBusyError as error:
                run.busy.add(replica.url)
                logger.warning("%s", error)
                continue
            await self.replicas.leave(run, replica, lost)

    def _validate(self, model: str, request: Request) -> None:
        context, vocab, params = self.context(model), self._vocabularies[model], request.params
        if not request.prompt:
            raise InvalidRequestError("The prompt is empty: send at least one token.", param="prompt")
        for ids, param in ((request.prompt, "prompt"), (params.logit_bias, "logit_bias")):
            wrong = next((id for id in ids if not 0 <= id < vocab), None)
            if wrong is not None:
                raise InvalidRequestError(f"Token {wrong} does not exist: use ids from 0 to {vocab - 1}.", param=param)
        if len(request.prompt) + (params.max_tokens > 0) > context:
            raise ContextLengthError(len(request.prompt), context)
        if request.score_from is not None and not 0 <= request.score_from <= len(request.prompt):
            raise InvalidRequestError(
                f"score_from must be between 0 and the prompt's {len(request.prompt)} tokens.", param="score_from"
            )
        check_params(params)
        counts = params.presence_penalty or params.frequency_penalty
        if counts and request.constraint is not None and not request.constraint.hides_refused:
            raise InvalidRequestError(
                "presence_penalty and frequency_penalty are not supported together with an answer format: "
                f"{model} is computed elsewhere.",
                param="presence_penalty",
            )

    def _check(self, model: str) -> None:
        if model not in self._vocabularies or model in self._removed:
            raise unknown_model(model, [name for name in self._vocabularies if name not in self._removed])

    def _forget_removed(self, model: str) -> None:
        if model in self._removed and not self.running(model):
            del self._adapters[model], self._vocabularies[model], self._totals[model]
            self._removed.pop(model).set_result(None)

    def _count(self, run: RunningRequest) -> None:
        if run.admitted is None:
            return
        totals, usage = self._totals[run.model], run.usage()
        totals.cached += usage.cached
        totals.computed += usage.computed
        totals.generated += usage.generated
        totals.finished += 1


def _admit(run: RunningRequest) -> Admission:
    run.admitted = time.monotonic()
    return Admission(run.cached, run.admitted - run.submitted)
