"""The models that a server serves, by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial

from pellucid.door.users import UNCOUNTED, CurrentRequest
from pellucid.engine.port import Engine
from pellucid.errors import UnavailableError, unknown_model
from pellucid.models.served_model import ServedModel
from pellucid.text.loading_protocols import ModelLoader
from pellucid.text.text_model import TextModel
from pellucid.vocabulary.model_card import ModelCard


class ServedModels:
    """The models of an engine, with the default model first. Adapters come and go.

    With a ``loader``, models come and go too: an unloaded model remains as a card.
    """

    def __init__(self, engine: Engine, models: Sequence[ServedModel]) -> None:
        assert models, "an assistant needs a model"
        self.loader: ModelLoader | None = None
        self.on_demand: set[str] = set()
        """Models without a place in the settings."""
        self._engine = engine
        self._served: dict[str, TextModel | ModelCard] = {}
        # Bases first, because models with an adapter share parts of the base.
        for model in sorted(models, key=lambda model: model.base is not None):
            self._served[model.name] = self._prepared(model)
        self._served = {model.name: self._served[model.name] for model in models}

    @property
    def default(self) -> str:
        return next(iter(self._served))

    def find(self, name: str | None) -> TextModel:
        """Return a loaded model by full name or unambiguous adapter name; None: the default model.

        Raises NotFoundError, and UnavailableError for an unloaded model.
        """
        served = self._served.get(self.default if name is None else name)
        if isinstance(served, ModelCard):
            raise UnavailableError(f"{served.name} is not loaded now: try again.")
        if served is None:
            named = [other for other in self.all() if other.model.adapter and other.model.adapter.name == name]
            if len(named) != 1:
                raise unknown_model(name or self.default, self._served)
            served = named[0]
        return served

    async def keep(self, name: str | None, user: CurrentRequest) -> TextModel:
        """Return a model as ``find`` does, and keep the model loaded until the request ends."""
        served = await self._hold(name, user)
        user.keep(served, partial(self._release, served, user))
        return served

    @asynccontextmanager
    async def using(self, name: str | None, user: CurrentRequest = UNCOUNTED) -> AsyncIterator[TextModel]:
        """Yield a model as ``find`` returns the model, and keep the model loaded meanwhile."""
        served = await self._hold(name, user)
        try:
            yield served
        finally:
            self._release(served, user)

    async def _hold(self, name: str | None, user: CurrentRequest) -> TextModel:
        wanted = self.default if name is None else name
        while self.loader is not None and self._is_away(wanted, user):
            user.begin()  # Loading is a use of a model: no model is loaded for a request beyond a limit.
            await self.loader.load(wanted)
        served = self.find(wanted)
        served.holders.append(user)
        return served

    def _release(self, served: TextModel, user: CurrentRequest) -> None:
        served.holders.remove(user)
        served.last_used = time.monotonic()
        if self.loader is not None and not served.holders:
            self.loader.note_release(served.name)

    def knows(self, name: str) -> bool:
        """Return whether a model is served, or could be loaded."""
        return name in self._served or (self.loader is not None and self.loader.knows(name))

    def all(self) -> list[TextModel]:
        """Return the loaded models."""
        return [served for served in self._served.values() if isinstance(served, TextModel)]

    def bases_of_adapters(self) -> set[str]:
        """Return the models that loaded adapters share."""
        return {served.model.base for served in self.all() if served.model.base is not None}

    def cards(self) -> list[ModelCard]:
        return [served.card() if isinstance(served, TextModel) else served for served in self._served.values()]

    def loaded(self, name: str) -> TextModel | None:
        served = self._served.get(name)
        return served if isinstance(served, TextModel) else None

    async def add(self, model: ServedModel) -> None:
        prepared = await asyncio.to_thread(self._prepared, model)
        if model.base is None and model.name not in self._served:
            self.on_demand.add(model.name)
        self._served[model.name] = prepared

    def remove(self, name: str) -> Future[None]:
        """Accept no new requests for a model with an adapter.

        The future is done after the last answer.
        """
        served = self.find(name)
        assert served.model.base is not None, "a model is put away"
        removed = self._engine.remove_model(served.name)
        del self._served[served.name]
        return removed

    def put_away(self, served: TextModel) -> Future[None]:
        """Keep only the card of an unused model; the future is done when all is saved."""
        assert not served.holders
        self._served[served.name] = served.card()
        return self._engine.remove_model(served.name)

    def _is_away(self, name: str, user: CurrentRequest) -> bool:
        served = self._served.get(name)
        if served is None:
            assert self.loader is not None
            return self.loader.knows(name)
        # A leaving model waits for the requests that use the model, so further uses by the same
        # requests may not wait.
        return isinstance(served, ModelCard) or (served.leaving and user not in served.holders)

    def _prepared(self, model: ServedModel) -> TextModel:
        base = None if model.base is None else self._served[model.base]
        assert not isinstance(base, ModelCard), "a base is loaded as long as its adapters"
        return TextModel(model, self._engine, base)
