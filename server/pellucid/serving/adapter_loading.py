"""Adapter loading for a server with an engine in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from pellucid.engine.local_engine import LocalEngine
from pellucid.errors import NotFoundError, UnavailableError
from pellucid.models.adapter import adapt, choose_base
from pellucid.models.adapter_folder import adapter_folder, read_card, stored_adapters
from pellucid.models.load import LoadedModel
from pellucid.models.store import Store
from pellucid.text.adapters import AdapterStatus, stored_status
from pellucid.text.assistant import LocalAssistant


@dataclass(eq=False)
class LoadedAdapters:
    """An implementation of ``Adapters``; ``saves`` keeps parked prefixes on disk."""

    engine: LocalEngine
    assistant: LocalAssistant
    store: Store
    slots: int = 0
    saves: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self, folder: str, *, name: str | None = None, model: str | None = None) -> AdapterStatus:
        async with self._lock:
            card = await asyncio.to_thread(lambda: read_card(adapter_folder(self.store, folder), name))
            base = self._model(model) if model else choose_base(card, self._loaded())
            loaded = await asyncio.to_thread(adapt, base, card)
            try:
                saved = loaded.prefixes if self.saves else None
                added = await asyncio.to_thread(
                    self.engine.add_model, loaded.name, loaded.model, slots=self.slots, saved=saved
                )
                await asyncio.wrap_future(added)
                await self.assistant.models.add(loaded)
            except (RuntimeError, MemoryError) as error:  # Raised by torch and numpy without enough memory.
                raise UnavailableError(
                    f"There is not enough memory for the cache of {loaded.name}: unload another adapter."
                ) from error
            return _status(loaded)

    async def unload(self, id: str) -> tuple[AdapterStatus, Future[None]]:
        async with self._lock:  # Not during the replacement of the adapter.
            loaded = self._model(id)
            if loaded.base is None:
                raise NotFoundError(f"{id} is a model, not an adapter: only adapters can be unloaded.")
            return _status(loaded), self.assistant.models.remove(loaded.name)

    def list(self) -> list[AdapterStatus]:
        loaded = [_status(model) for model in self._loaded() if model.adapter is not None]
        paths = {one.card.path for one in loaded if one.card is not None}
        return loaded + [stored_status(path) for path in stored_adapters(self.store) if path not in paths]

    def _model(self, name: str) -> LoadedModel:
        model = self.assistant.models.find(name).model
        assert isinstance(model, LoadedModel)
        return model

    def _loaded(self) -> Sequence[LoadedModel]:
        return [one.model for one in self.assistant.models.all() if isinstance(one.model, LoadedModel)]


def _status(loaded: LoadedModel) -> AdapterStatus:
    assert loaded.adapter is not None
    return AdapterStatus(loaded.adapter.name, loaded.adapter, loaded.name, loaded.base)
