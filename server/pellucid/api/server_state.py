"""Holds the state that all requests of one server share: its settings, and the assistant once the models are loaded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fastapi import Request

from pellucid.api.idle_exit import Idleness
from pellucid.api.login_rate_limit import LoginRateLimit
from pellucid.api.metrics import UNKNOWN_MODEL, Metrics
from pellucid.engine.port import FAILED, Engine
from pellucid.engine.status import WorkerStatus
from pellucid.errors import InvalidRequestError, NotSupportedError, UnavailableError
from pellucid.fleet.membership import Membership
from pellucid.system.api_keys import Keys
from pellucid.system.progress_protocol import Noted, Silent
from pellucid.system.users import Users, UserTotals
from pellucid.text.adapters import Adapters
from pellucid.text.assistant import LocalAssistant
from pellucid.tokens import ModelCard

ServerPhase = Literal["ready", "loading", "leaving", "failed"]

_UNREADY: dict[ServerPhase, str] = {
    "loading": "Loading model",
    "leaving": "The server is shutting down.",
    "failed": FAILED,
}


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The state of an engine elsewhere.

    ``problem`` is the reason why it is away; ``lost`` counts the requests that were lost with it.
    """

    url: str
    state: Literal["ready", "draining", "away"]
    problem: str | None
    version: str
    models: tuple[str, ...]
    adapter_problems: Mapping[str, str]
    running: int
    waiting: int
    lost: int


@dataclass(eq=False)
class ServerState:
    """The state of one server.

    ``models`` are the names that it will serve; ``open`` is called once they are loaded.

    ``infill_window`` is the largest number of tokens around the cursor that llama.cpp's /infill
    reads (None: as many as fit). Without ``strict_model`` a server with a single model answers to
    every name. ``leaving`` is set, and ``departing`` with it, when no new requests are taken;
    ``closing`` is set ``grace`` seconds later, when running answers must end. ``started`` is in
    seconds since 1970. The state belongs to the event loop, except for ``progress``, which the
    loading thread updates.
    """

    models: tuple[str, ...]
    host: str = "127.0.0.1"
    keys: Keys | None = None
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 8 * 2**20
    grace: float = 10.0
    infill_window: int | None = None
    strict_model: bool = False
    clock: Callable[[], float] = time.monotonic
    started: int = field(default_factory=lambda: int(time.time()))
    leaving: bool = False
    departing: asyncio.Event = field(default_factory=asyncio.Event)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: Metrics = field(default_factory=Metrics)
    users: Users = field(default_factory=Users)
    progress: Noted = field(default_factory=lambda: Noted(Silent()))
    login_rate_limit: LoginRateLimit = field(default_factory=LoginRateLimit)
    idleness: Idleness = field(init=False)
    _assistant: LocalAssistant | None = None
    _engine: Engine | None = None
    _adapters: Adapters | None = None
    _membership: Membership | None = None
    _cards: dict[str, ModelCard] = field(default_factory=dict)
    _adapter_names: set[str] = field(
        default_factory=set
    )  # of all adapters since the start, also of those that are gone

    def __post_init__(self) -> None:
        self.metrics.watch_models(self.statuses)
        self.metrics.watch_engines(self.engines)
        self.metrics.watch_users(self.named_users)
        self.idleness = Idleness(self.clock)

    def open(
        self,
        assistant: LocalAssistant,
        engine: Engine,
        adapters: Adapters | None = None,
        membership: Membership | None = None,
    ) -> None:
        """Serve from now on.

        Without ``adapters`` none can be loaded; ``membership`` is that of engines elsewhere, if
        there are any.
        """
        self._assistant, self._engine, self._adapters, self._membership = assistant, engine, adapters, membership
        self.note_models()
        if membership is not None:
            membership.on_new_models = self.note_models
        self.idleness.restart()

    def note_models(self) -> None:
        """Update the cards after models were added or removed."""
        assert self._assistant is not None
        self._cards = {card.name: card for card in self._assistant.models()}
        self.models = tuple(self._cards)
        self._adapter_names |= {card.adapter for card in self._cards.values() if card.adapter}
        for name in self.models:
            self.metrics.count_suggestions(name)  # Prometheus sees an increase only after a first value, which is 0

    def leave(self) -> None:
        """Take no new requests, and end the running ones after the grace time."""
        if self.leaving:
            return
        self.leaving = True
        self.departing.set()
        asyncio.get_running_loop().call_later(self.grace, self.closing.set)

    @property
    def phase(self) -> ServerPhase:
        """Ready, or the reason why the server answers no requests."""
        if self.leaving:
            return "leaving"
        if self._assistant is None or self._engine is None:
            return "loading"
        return "ready" if self._engine.failure is None else "failed"

    def require_ready(self) -> LocalAssistant:
        """Return the assistant.

        Raises UnavailableError while models load, while the server shuts down and after its engine
        has failed.
        """
        if self.phase != "ready":
            raise UnavailableError(_UNREADY[self.phase])
        assert self._assistant is not None
        return self._assistant

    def require_adapters(self) -> Adapters:
        """Return the adapters.

        Raises UnavailableError as ``require_ready`` does, and NotSupportedError on a server without
        adapters.
        """
        self.require_ready()
        if self._adapters is None:
            raise NotSupportedError("This server has no folder of adapters: start it with --adapter to serve one.")
        return self._adapters

    @property
    def is_front(self) -> bool:
        """True if engines elsewhere compute the models."""
        return self._membership is not None

    def models_away(self) -> list[str]:
        """Return the models that no engine elsewhere computes now.

        Models with an adapter, which come and go, do not count.
        """
        served = {name for one in self.engines() if one.state == "ready" for name in one.models}
        bases = [card.name for card in self._cards.values() if card.base is None]
        return [name for name in bases if name not in served] if self.is_front else []

    def engines(self) -> list[EngineStatus]:
        """Return the state of the engines elsewhere; an empty list where this process computes the models."""
        if self._membership is None:
            return []
        lost = self._membership.fleet.lost
        return [
            EngineStatus(
                url=one.url,
                state="draining" if one.draining else "ready" if one.takes_part else "away",
                problem=one.problem,
                version=one.version,
                models=(*one.models, *one.adapters),
                adapter_problems=one.adapter_problems,
                running=one.gate.running,
                waiting=one.gate.waiting,
                lost=lost[one.url],
            )
            for one in self._membership.replicas()
        ]

    def find(self, model: str | None, *, strict: bool = False) -> tuple[LocalAssistant, ModelCard]:
        """Return the assistant and the card of a model, by default the first one.

        A single model answers to every name, as many clients send one that their user never chose,
        unless the request or the server is ``strict``, or the name is that of an adapter of the
        model, which may be gone. Raises UnavailableError as ``require_ready`` does, and
        NotFoundError, which lists the names.
        """
        assistant = self.require_ready()
        if model and model not in self._cards and not (strict or self.strict_model):
            names = [card.name for card in assistant.models()]
            if len(names) == 1 and not model.startswith(f"{names[0]}:") and model not in self._adapter_names:
                model = None
        name = assistant.name_of(model or None)  # llama.vim names the default model ""
        if name not in self._cards:  # it has just been loaded
            self.note_models()
        return assistant, self._cards[name]

    def metrics_label(self, model: str | None) -> str:
        """Return a model's name as a label of metrics: that of a served model, as labels for arbitrary names would have no limit."""
        return model if model in self.models else UNKNOWN_MODEL

    def named_users(self) -> dict[str, UserTotals]:
        """Return what each user with a key of their own has used; those whose keys were removed keep their figures."""
        if self.keys is None or not self.keys.are_named:
            return {}
        return {name: self.users.totals(name) for name in sorted({*self.keys.by_owner, *self.users.names()})}

    def check_answers(self, model: str, count: int, param: str) -> None:
        """Raise InvalidRequestError for more answers than a model can ever hold at once, as a retry could not help.

        The limit is 0 while no engine elsewhere computes the model, which the request learns later.
        """
        limit = self.statuses()[model].limit
        if 0 < limit < count:
            raise InvalidRequestError(
                f"{count} answers at once exceed the {limit} that fit into the server's slots and queue: ask for fewer, "
                "or start the server with larger --slots or --queue.",
                param=param,
            )

    def cards(self) -> tuple[ModelCard, ...]:
        """Return the cards of all loaded models, the default one first, with their calibrations as they are now."""
        return () if self._assistant is None else tuple(self._assistant.models())

    def statuses(self) -> dict[str, WorkerStatus]:
        """Return the engine's current status for each model."""
        return {} if self._engine is None else {name: self._engine.status(name) for name in self._cards}


def state_of(request: Request) -> ServerState:
    """Return the state of the server that received this request."""
    state = request.app.state.server
    assert isinstance(state, ServerState)
    return state
