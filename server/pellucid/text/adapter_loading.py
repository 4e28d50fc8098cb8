"""Loads and unloads the adapters of a server while it serves."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from pellucid.errors import AdapterError, NotFoundError, UnavailableError
from pellucid.models.adapter import adapt, choose_base
from pellucid.models.adapter_folder import AdapterCard, adapter_folder, read_card, stored_adapters
from pellucid.models.load import LoadedModel
from pellucid.models.store import Store
from pellucid.models.untrusted_files import printable
from pellucid.text.assistant import LocalAssistant


@dataclass(frozen=True, slots=True)
class AdapterStatus:
    """An adapter that is loaded, as the model ``id`` on the model ``base``, or that is in the store.

    An adapter that cannot be loaded has no ``card``; ``problem`` is the reason.
    """

    name: str
    card: AdapterCard | None
    id: str | None = None
    base: str | None = None
    problem: str | None = None


@dataclass(eq=False)
class LoadedAdapters:
    """Loads adapters from the store's folder, by name. ``saves`` keeps their parked prefixes on disk."""

    assistant: LocalAssistant
    store: Store
    slots: int = 0
    saves: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self, folder: str, *, name: str | None = None, model: str | None = None) -> AdapterStatus:
        """Serve the adapter in a folder of the store with a model, by default the one that it was made for; ``name`` renames it.

        A loaded adapter of that name is replaced. Raises NotFoundError for an unknown adapter or model, AdapterError for an adapter
        that does not fit, NotSupportedError, and UnavailableError if there is no memory for it.
        """
        async with self._lock:
            card = await asyncio.to_thread(lambda: read_card(adapter_folder(self.store, folder), name))
            base = self._model(model) if model else choose_base(card, self.assistant.loaded())
            loaded = await asyncio.to_thread(adapt, base, card)
            try:
                await self.assistant.add(loaded, slots=self.slots, saved=loaded.prefixes if self.saves else None)
            except (RuntimeError, MemoryError) as error:  # raised by torch and numpy if there is no memory
                raise UnavailableError(f"There is not enough memory for the cache of {loaded.name}: unload another adapter.") from error
            return _status(loaded)

    async def unload(self, id: str) -> tuple[AdapterStatus, Future[None]]:
        """Take no new requests for an adapter, given as ``model:adapter`` or by its own name.

        The future is done when its last answer has ended. Raises NotFoundError for an adapter that is not loaded.
        """
        async with self._lock:  # not while the adapter is being replaced
            loaded = self._model(id)
            if loaded.base is None:
                raise NotFoundError(f"{id} is a model, not an adapter: only adapters can be unloaded.")
            return _status(loaded), self.assistant.remove(loaded.name)

    def list(self) -> list[AdapterStatus]:
        """Return the loaded adapters, then the others in the store."""
        loaded = [_status(model) for model in self.assistant.loaded() if model.adapter is not None]
        paths = {one.card.path for one in loaded if one.card is not None}
        return loaded + [_stored(path) for path in stored_adapters(self.store) if path not in paths]

    def _model(self, name: str) -> LoadedModel:
        full_name = self.assistant.name_of(name)
        return next(model for model in self.assistant.loaded() if model.name == full_name)


def _status(loaded: LoadedModel) -> AdapterStatus:
    assert loaded.adapter is not None
    return AdapterStatus(loaded.adapter.name, loaded.adapter, loaded.name, loaded.base)


def _stored(folder: Path) -> AdapterStatus:
    """Return the status of a folder of the store; one that cannot be read is listed with its problem."""
    name = printable(folder.name)
    try:
        return AdapterStatus(name, read_card(folder))
    except AdapterError as error:
        return AdapterStatus(name, None, problem=printable(str(error)))
