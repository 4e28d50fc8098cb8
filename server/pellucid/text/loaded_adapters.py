"""The adapters of one server: loaded and unloaded while it serves."""

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
    """An adapter that is loaded, as the model ``id`` of the model ``base``, or that could be.

    One that could not be loaded has no ``card``, and its ``problem`` says why.
    """

    name: str
    card: AdapterCard | None
    id: str | None = None
    base: str | None = None
    problem: str | None = None


@dataclass(eq=False)
class LoadedAdapters:
    """Loads adapters out of the store's folder, by name. ``slots`` and ``saves`` say the same as for Engine.add_model."""

    assistant: LocalAssistant
    store: Store
    slots: int = 0
    saves: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self, folder: str, *, name: str | None = None, model: str | None = None) -> AdapterStatus:
        """Serve the adapter in a folder of the store with a model, or with the one that it was made for; it may have another name.

        One that is loaded is replaced by what lies in the folder now. Raises NotFoundError for an unknown adapter or model,
        AdapterError for one that does not fit, NotSupportedError, or UnavailableError where there is no memory for it.
        """
        async with self._lock:
            card = await asyncio.to_thread(lambda: read_card(adapter_folder(self.store, folder), name))
            base = self._model(model) if model else choose_base(card, self.assistant.loaded())
            loaded = await asyncio.to_thread(adapt, base, card)
            try:
                await self.assistant.add(loaded, slots=self.slots, saved=loaded.prefixes if self.saves else None)
            except (RuntimeError, MemoryError) as error:  # torch's and numpy's words for memory that cannot be had
                raise UnavailableError(f"There is no memory for the cache of {loaded.name}: unload another adapter.") from error
            return _standing(loaded)

    async def unload(self, id: str) -> tuple[AdapterStatus, Future[None]]:
        """Take no new requests for ``model:adapter``, or an adapter by its own name; the future is done when the last answer has ended.

        Raises NotFoundError for one that is not loaded.
        """
        async with self._lock:  # not between the two halves of loading it anew
            loaded = self._model(id)
            if loaded.base is None:
                raise NotFoundError(f"{id} is a model, not an adapter: the models that a server was started with stay.")
            return _standing(loaded), self.assistant.remove(loaded.name)

    def list(self) -> list[AdapterStatus]:
        """Those that are loaded, then those that are in the store besides."""
        loaded = [_standing(model) for model in self.assistant.loaded() if model.adapter is not None]
        paths = {one.card.path for one in loaded if one.card is not None}
        return loaded + [_stored(path) for path in stored_adapters(self.store) if path not in paths]

    def _model(self, name: str) -> LoadedModel:
        found = self.assistant.name_of(name)
        return next(model for model in self.assistant.loaded() if model.name == found)


def _standing(loaded: LoadedModel) -> AdapterStatus:
    assert loaded.adapter is not None
    return AdapterStatus(loaded.adapter.name, loaded.adapter, loaded.name, loaded.base)


def _stored(folder: Path) -> AdapterStatus:
    """A folder of the store, whatever it holds: one that cannot be read is listed with what is wrong with it."""
    name = printable(folder.name)
    try:
        return AdapterStatus(name, read_card(folder))
    except AdapterError as error:
        return AdapterStatus(name, None, problem=printable(str(error)))
