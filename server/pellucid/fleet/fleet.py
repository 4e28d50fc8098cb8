"""A remote engine made of replicas. Another replica resumes the answers of a lost replica."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any
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
    UnavailableError,
    unknown_model,
)
from pellucid.fleet.admission import GateClosedError
from pellucid.fleet.affinity import by_affinity
from pellucid.fleet.constrained_tokens import AllowedTokens, allowed_tokens
from pellucid.fleet.loop_lag import LoopLag
from pellucid.fleet.replica import (
    ModelGoneError,
    Replica,
    ReplicaBusyError,
    ReplicaHangsError,
    ReplicaLostError,
    ReplicaRefusedError,
)
from pellucid.fleet.running_request import RequestEndError, RunningRequest
from pellucid.fleet.vllm_wire import WireToken, check_params, generate_body, read_body, sampled_probability, token_score
from pellucid.vocabulary.finish import Finish, FinishReason

MAX_MOVES = 3
"""How often a lost answer is resumed before failure."""

PATIENCE_SECONDS = 10.0
"""Time that requests wait after the start or the loss of the last replica.

Lost replicas are checked every two seconds, and a router has further engines.
"""

PAUSE_SHARE = 0.1
"""Wait after a second failure at the same replica: a share of ``PATIENCE_SECONDS`` per move."""

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
        self.replicas: dict[str, Replica] = {}
        """The replicas by address; maintained by ``Membership``."""
        self.lost: Counter[str] = Counter()
        """Requests lost with the replica at each address, including resumed requests."""
        self._vocabularies = dict(vocabularies)
        self._context = context
        self._patience = patience
        self._adapters: dict[str, FleetAdapter] = {}
        self._removed: dict[str, Future[None]] = {}  # Adapters with running answers
        self._newest: dict[str, RunningRequest] = {}
        self._running: set[RunningRequest] = set()
        self._lag = LoopLag(lambda: bool(self._running))
        self._totals = {name: Totals() for name in vocabularies}
        self._closing = False
        self._made_at = time.monotonic()
        self._lost_at: dict[str, float] = {}  # When each recoverable replica was lost
        self._joined = asyncio.Event()

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
        gates = [replica.gate for replica in self._serving(model)]
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

    def note_joined(self, replica: Replica) -> None:
        self._lost_at.pop(replica.url, None)
        self._joined.set()
        self._joined = asyncio.Event()

    def close(self) -> None:
        """Take no new requests, and cancel running requests."""
        self._closing = True
        for run in self._running:
            run.end(FinishReason.CANCELLED)

    async def disconnect(self) -> None:
        for replica in self.replicas.values():
            await replica.close()

    async def _items(self, run: RunningRequest) -> AsyncGenerator[Admission | TokenScore]:
        """Yield the admission and all scores.

        Raises RequestEndError if the answer ends for a reason other than its length.
        """
        while True:
            replica = await self._available(run)
            try:
                async with replica.gate.admitted(run.request.terms.priority, run.wait):
                    if replica.problem is not None or replica.context(run.model) is None:
                        continue  # The replica was removed at the same time.
                    if run.admitted is None:
                        yield _admit(run)
                    try:
                        async with aclosing(self._scores(run, replica)) as scores:
                            async for score in scores:
                                yield score
                        return
                    except ReplicaLostError as error:
                        # Before the slot goes to a waiting request.
                        await self._note_lost(run, replica, error)
                        lost = error
            except GateClosedError:
                continue
            except ReplicaBusyError as error:
                run.busy.add(replica.url)
                logger.warning("%s", error)
                continue
            await self._leave(run, replica, lost)

    async def _scores(self, run: RunningRequest, replica: Replica) -> AsyncGenerator[TokenScore]:
        """Yield the missing scores of a request: the prompt's, then the answer's."""
        request, vocab = run.request, self._vocabularies[run.model]
        adapter = self._adapters.get(run.model)
        name = run.model if adapter is None else adapter.name
        # An engine that reloads an adapter keeps the old cache, so each revision needs its own
        # cache.
        salt = "/".join(filter(None, ("" if adapter is None else adapter.revision, request.cache_salt)))
        more = {"cache_salt": salt} if salt else {}
        # A later engine request finds tokens in the cache that this request has computed.
        is_first = not (run.has_delivered or run.moves)
        if not run.is_read and request.score_from is not None:
            read = replica.prompt_scores(read_body(name, request) | more, run.session, vocab)
            tokens, cached = await run.wait(replica.unless_it_hangs(read, len(request.prompt)))
            replica.hang.note_token()
            run.cached, run.is_read, is_first = cached if is_first else run.cached, True, False
            for position, token in enumerate(tokens):
                if position >= request.score_from:
                    yield self._read_score(run, position, token)
        if not run.room and not run.has_delivered:
            await self._prefill(run, replica, generate_body(name, request, [], 1) | more)
        constraint = request.constraint
        allowed = await run.wait(allowed_tokens(constraint, vocab))
        refused = stopped = False
        while run.room and not stopped:
            limits = allowed if allowed is not None and (refused or _is_always_named(request)) else None
            most = run.room if limits is None else 1
            body = generate_body(name, request, run.answer, most, None if limits is None else limits.ids) | more
            before, refused = len(run.answer), False
            async with aclosing(replica.scores(body, run.session, vocab)) as events:
                async for event in run.each(replica.each(events, len(body["token_ids"]))):
                    if event.cached is not None and is_first:
                        run.cached = min(event.cached, len(request.prompt))
                    for token in event.tokens:
                        refused = allowed is not None and token.id not in allowed
                        if refused:
                            break
                        if constraint is None:
                            yield self._answer_score(run, token, None)
                            continue
                        constraint.advance(token.id)
                        yield self._answer_score(run, token, allowed)
                        allowed = await run.wait(allowed_tokens(constraint, vocab))
                    if event.stop_id is not None and not refused:
                        refused = allowed is not None and event.stop_id not in allowed
                        stopped = not refused
                    if refused:
                        # Cancels the unconstrained rest.
                        break
            is_first = False
            if len(run.answer) == before and not stopped and (limits is not None or not refused):
                raise ReplicaLostError(f"{replica.url} ended an answer without a token that is allowed.")
        if stopped:
            raise RequestEndError(FinishReason.STOP)

    async def _prefill(self, run: RunningRequest, replica: Replica, body: Mapping[str, Any]) -> None:
        """Read a prompt into the cache by generating a token.

        Requests for prompt scores would bypass the cache.
        """
        async with aclosing(replica.scores(body, run.session, self._vocabularies[run.model])) as events:
            async for event in run.each(replica.each(events, len(run.request.prompt))):
                run.cached = run.cached if event.cached is None else min(event.cached, len(run.request.prompt))
        run.is_read = True

    def _read_score(self, run: RunningRequest, position: int, token: WireToken | None) -> TokenScore:
        if token is None:
            return TokenScore(run.request.prompt[position], position, None, None, None)
        return token_score(token, position, self._vocabularies[run.model], run.request.params.top_logprobs)

    def _answer_score(self, run: RunningRequest, token: WireToken, allowed: AllowedTokens | None) -> TokenScore:
        params, position = run.request.params, len(run.request.prompt) + len(run.answer)
        run.answer.append(token.id)
        run.first_token = run.first_token or time.monotonic()
        sampled = sampled_probability(token, params) if allowed is None or params.temperature == 0 else None
        score = token_score(token, position, self._vocabularies[run.model], params.top_logprobs, sampled)
        return score if allowed is None else allowed.limited(score, token, params.top_logprobs)

    async def _available(self, run: RunningRequest) -> Replica:
        """Return the replica for a request, or wait a limited time for a lost replica."""
        while True:
            joined = self._joined
            try:
                return self._choose(run)
            except UnavailableError:
                lost = max(
                    [
                        self._made_at,
                        *(self._lost_at.get(replica.url, -math.inf) for replica in self._serving(run.model)),
                    ]
                )
                left = lost + self._patience - time.monotonic()
                if self._closing or left <= 0:
                    raise
            with suppress(TimeoutError):
                await run.wait(asyncio.wait_for(joined.wait(), left))

    def _choose(self, run: RunningRequest) -> Replica:
        """Return the session's preferred replica, unless only another replica has room.

        Raises UnavailableError if no replica takes part, and QueueFullError if all are busy.
        """
        if self._closing:
            raise UnavailableError("The server is shutting down.")
        taking_part = {replica.url for replica in self._serving(run.model) if replica.takes_part}
        free = taking_part - run.busy
        if not taking_part:
            reasons = [f"{one.url}: {reason}" for one in self.replicas.values() if (reason := _absence(one, run.model))]
            raise UnavailableError(" ".join([f"No engine serves {run.model} now.", *reasons]))
        if not free:
            raise QueueFullError(f"All engines of {run.model} are busy: try again later.")
        preferred = [self.replicas[url] for url in by_affinity(run.session, free - run.left or free)]
        roomy = (replica for replica in preferred if replica.gate.has_room(run.request.terms.priority))
        waiting = (replica for replica in preferred if not replica.gate.is_full(run.request.terms.priority))
        return next(roomy, None) or next(waiting, preferred[0])

    async def _note_lost(self, run: RunningRequest, replica: Replica, error: ReplicaLostError) -> None:
        logger.warning("%s", error)
        self.lost[replica.url] += 1
        run.moves += 1
        if isinstance(error, ModelGoneError) and run.model in self._adapters:
            replica.drop_adapter(run.model, str(error))
            replica.is_stale = True
        elif isinstance(error, ReplicaRefusedError):
            replica.take_out(str(error))
        elif isinstance(error, ReplicaHangsError) or not await run.wait(replica.is_well()):
            replica.take_out(str(error))
            self._lost_at[replica.url] = time.monotonic()

    async def _leave(self, run: RunningRequest, replica: Replica, error: ReplicaLostError) -> None:
        """Prepare a lost request for another replica. Raises UnavailableError if impossible."""
        params = run.request.params
        if run.moves > MAX_MOVES:
            raise UnavailableError(f"The engines of this request failed {run.moves} times; the last one: {error}")
        if run.answer and (params.presence_penalty or params.frequency_penalty):
            raise UnavailableError(
                f"{error} An answer with a presence or frequency penalty cannot be resumed: ask again."
            )
        is_again = replica.url in run.left
        run.left.add(replica.url)
        if is_again:  # A router that has not noticed the loss yet
            await run.wait(asyncio.sleep(self._patience * PAUSE_SHARE * run.moves))

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

    def _serving(self, model: str) -> list[Replica]:
        return [replica for replica in self.replicas.values() if replica.context(model) is not None]

    def _forget_removed(self, model: str) -> None:
        if model in self._removed and not self.running(model):
            del self._adapters[model], self._vocabularies[model], self._totals[model]
            self._removed.pop(model).set_result(None)

    def _count(self, run: RunningRequest) -> None:
        if run.admitted is None:
            return
        totals = self._totals[run.model]
        totals.cached += run.cached
        totals.computed += len(run.request.prompt) - run.cached
        totals.generated += len(run.answer)
        totals.finished += 1


def _absence(replica: Replica, model: str) -> str | None:
    if replica.draining:
        return "it is being removed."
    return replica.problem or replica.adapter_problems.get(model)


def _admit(run: RunningRequest) -> Admission:
    run.admitted = time.monotonic()
    return Admission(run.cached, run.admitted - run.submitted)


def _is_always_named(request: Request) -> bool:
    """Return whether each step lists the allowed tokens, not only a step after a refused token.

    Token healing rarely agrees with the model's own choice, and truncated sampling must draw among
    the allowed tokens. Without truncation, a refused draw may be repeated among the allowed tokens
    without a change of any probability.
    """
    params, constraint = request.params, request.constraint
    truncates = params.top_k or params.top_p < 1 or params.min_p
    return constraint is not None and (constraint.hides_refused or bool(params.temperature and truncates))
