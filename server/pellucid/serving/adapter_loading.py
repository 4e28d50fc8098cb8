"""Adapter loading for a server with an engine in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from pellucid.errors import NotFoundError
from pellucid.models.adapter import adapt, choose_base
from pellucid.models.adapter_folder import adapter_folder, read_card, stored_adapters
from pellucid.models.load import LoadedModel
from pellucid.models.store import Store
from pellucid.serving.model_loading import LoadedModels
from pellucid.text.loading_protocols import AdapterStatus, stored_status
from pellucid.text.served_models import ServedModels


@dataclass(eq=False)
class LoadedAdapters:
    """An implementation of ``Adapters`` on ``models``."""

    models: LoadedModels
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self, folder: str, *, name: str | None = None, model: str | None = None) -> AdapterStatus:
        async with self._lock:
            card = await asyncio.to_thread(lambda: read_card(adapter_folder(self.store, folder), name))
            # The base stays loaded meanwhile.
            async with self._served.using(model or choose_base(card, self._loaded()).name) as base:
                loaded = await asyncio.to_thread(adapt, self._model(base.name), card)
                context = self.models.engine.context(base.name)
                await self.models.serve(loaded, context, self.models.settings.adapter_slots)
            return _status(loaded)

    async def unload(self, id: str) -> tuple[AdapterStatus, Future[None]]:
        async with self._lock:  # Not during the replacement of the adapter.
            loaded = self._model(id)
            if loaded.base is None:
                raise NotFoundError(f"{id} is a model, not an adapter: only adapters can be unloaded.")
            return _status(loaded), self._served.remove(loaded.name)

    def list(self) -> list[AdapterStatus]:
        loaded = [_status(model) for model in self._loaded() if model.adapter is not None]
        paths = {one.card.path for one in loaded if one.card is not None}
        return loaded + [stored_status(path) for path in stored_adapters(self.store) if path not in paths]

    @property
    def store(self) -> Store:
        return self.models.store

    @property
    def _served(self) -> ServedModels:
        return self.models.assistant.models

    def _model(self, name: str) -> LoadedModel:
        model = self._served.find(name).model
        assert isinstance(model, LoadedModel)
        return model

    def _loaded(self) -> Sequence[LoadedModel]:
        return [one.model for one in self._served.all() if isinstance(one.model, LoadedModel)]


def _status(loaded: LoadedModel) -> AdapterStatus:
    assert loaded.adapter is not None
    return AdapterStatus(loaded.adapter.name, loaded.adapter, loaded.name, loaded.base)
