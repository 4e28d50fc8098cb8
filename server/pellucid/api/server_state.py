"""State of a server, shared by all requests: settings and the assistant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from fastapi import Request

from pellucid.api.engine_status import EngineStatus
from pellucid.api.idle_exit import Idleness
from pellucid.api.metrics import UNKNOWN_MODEL, Metrics
from pellucid.door.api_keys import Keys
from pellucid.door.login_rate_limit import LoginRateLimit
from pellucid.door.users import Users, UserTotals, current_request
from pellucid.engine.port import FAILED, Engine
from pellucid.engine.status import WorkerStatus
from pellucid.errors import InvalidRequestError, NotSupportedError, UnavailableError
from pellucid.system.progress import Noted, Silent
from pellucid.text.assistant import LocalAssistant
from pellucid.text.loading_protocols import Adapters, ModelLoader
from pellucid.vocabulary.model_card import ModelCard

if TYPE_CHECKING:
    from pellucid.fleet.membership import (
        Membership,  # Imports HTTP clients, which only a server with remote engines needs.
    )

ServerPhase = Literal["ready", "loading", "leaving", "failed"]

_UNREADY: dict[ServerPhase, str] = {
    "loading": "Loading model",
    "leaving": "The server is shutting down.",
    "failed": FAILED,
}


@dataclass(eq=False)
class ServerState:
    """The state of a server. Belongs to the event loop, except for ``progress`` (loading thread).

    Attributes:
        models: Names of the served models, known before loading.
        infill_window: Maximum tokens around the cursor in llama.cpp's /infill.
        strict_model: False lets a single model answer to every name.
        started: Seconds since 1970.
        leaving: No new requests are taken; ``departing`` is set at the same time.
        closing: Set ``grace`` seconds later, when running answers must end.
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
    _adapter_names: set[str] = field(default_factory=set)  # Including removed adapters

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

        Without ``adapters``, no adapter can be loaded. ``membership`` is for remote engines.
        """
        self._assistant, self._engine, self._adapters, self._membership = assistant, engine, adapters, membership
        self.note_models()
        if membership is not None:
            membership.on_new_models = self.note_models
        self.idleness.restart()
        if assistant.models.loader:
            assistant.models.loader.closing = self.closing
            for served in assistant.models.all():
                assistant.models.loader.note_release(served.name)  # The time without a request begins.

    def note_models(self) -> None:
        assert self._assistant is not None
        self._cards = {card.name: card for card in self._assistant.models.cards()}
        self.models = tuple(self._cards)
        self._adapter_names |= {card.adapter for card in self._cards.values() if card.adapter}
        for name in self.models:
            # Prometheus sees an increase only after a first value of 0.
            self.metrics.count_suggestions(name)

    def leave(self) -> None:
        """Take no new requests, and end running requests after the grace time."""
        if self.leaving:
            return
        self.leaving = True
        self.departing.set()
        asyncio.get_running_loop().call_later(self.grace, self.closing.set)

    @property
    def phase(self) -> ServerPhase:
        if self.leaving:
            return "leaving"
        if self._assistant is None or self._engine is None:
            return "loading"
        return "ready" if self._engine.failure is None else "failed"

    def require_ready(self) -> LocalAssistant:
        """Return the assistant. Raises UnavailableError unless the server is ready."""
        if self.phase != "ready":
            raise UnavailableError(_UNREADY[self.phase])
        assert self._assistant is not None
        return self._assistant

    def require_adapters(self) -> Adapters:
        """Return the adapters.

        Raises UnavailableError unless the server is ready, and NotSupportedError on a server
        without adapters.
        """
        self.require_ready()
        if self._adapters is None:
            raise NotSupportedError("This server has no folder of adapters: start it with --adapter to serve one.")
        return self._adapters

    @property
    def is_front(self) -> bool:
        """True if remote engines compute the models."""
        return self._membership is not None

    def models_away(self) -> list[str]:
        """Return the models, without adapters, that no remote engine computes now."""
        served = {name for one in self.engines() if one.state == "ready" for name in one.models}
        bases = [card.name for card in self._cards.values() if card.base is None]
        return [name for name in bases if name not in served] if self.is_front else []

    def engines(self) -> list[EngineStatus]:
        """Return the state of the remote engines, if any."""
        if self._membership is None:
            return []
        lost = self._membership.fleet.replicas.lost
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

    async def find(self, model: str | None, *, strict: bool = False) -> tuple[LocalAssistant, ModelCard]:
        """Return the assistant and the card of a model (default: the first), loaded if necessary.

        The model stays loaded until the current request ends.

        A single model answers to every name, as many clients send names that their users never
        chose. Exceptions: the request or the server is ``strict``, or the name is an adapter's,
        possibly removed. Raises UnavailableError unless the server is ready, and NotFoundError with
        the list of names.
        """
        assistant = self.require_ready()
        models = assistant.models
        if model and not (strict or self.strict_model or models.knows(model)):
            names = [card.name for card in models.cards() if card.name not in models.on_demand]
            if len(names) == 1 and not model.startswith(f"{names[0]}:") and model not in self._adapter_names:
                model = None
        served = await models.keep(model or None, current_request())  # llama.vim names the default model ""
        if served.name not in self._cards:  # A new model
            self.note_models()
        return assistant, self._cards[served.name]

    def metrics_label(self, model: str | None) -> str:
        """Return a model's name as a label of metrics.

        Only served names, as labels must be limited.
        """
        return model if model in self.models else UNKNOWN_MODEL

    def named_users(self) -> dict[str, UserTotals]:
        """Return the usage of each user with a named key, including users with removed keys."""
        if self.keys is None or not self.keys.are_named:
            return {}
        return {name: self.users.totals(name) for name in sorted({*self.keys.by_owner, *self.users.names()})}

    def check_answers(self, model: str, count: int, param: str) -> None:
        """Raise InvalidRequestError for more answers than a model can ever hold, as no retry helps.

        The limit is 0 while no remote engine computes the model; the request fails later.
        """
        limit = self.statuses()[model].limit
        if 0 < limit < count:
            raise InvalidRequestError(
                f"{count} answers at once exceed the {limit} that fit into the server's slots and queue: "
                "ask for fewer, or start the server with larger --slots or --queue.",
                param=param,
            )

    def cards(self) -> tuple[ModelCard, ...]:
        """Return the cards of all loaded models, the default first, with current calibrations."""
        return () if self._assistant is None else tuple(self._assistant.models.cards())

    def statuses(self) -> dict[str, WorkerStatus]:
        """Return the states of the loaded models."""
        if self._engine is None or self._assistant is None:
            return {}
        return {served.name: self._engine.status(served.name) for served in self._assistant.models.all()}

    def require_loader(self) -> ModelLoader:
        """Return the loader of models.

        Raises UnavailableError unless the server is ready, and NotSupportedError on a server that
        loads no models.
        """
        self.require_ready()
        if self.loader is None:
            raise NotSupportedError("This server loads no further models: its models are those of its start.")
        return self.loader

    @property
    def loader(self) -> ModelLoader | None:
        return None if self._assistant is None else self._assistant.models.loader


def state_of(request: Request) -> ServerState:
    state = request.app.state.server
    assert isinstance(state, ServerState)
    return state
