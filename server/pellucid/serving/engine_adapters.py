"""Adapter loading for a server with remote engines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from pellucid.errors import AdapterError, NotFoundError
from pellucid.fleet.fleet import FleetAdapter
from pellucid.fleet.membership import Membership
from pellucid.models.adapter_folder import AdapterCard, adapter_folder, is_made_for, read_card, stored_adapters
from pellucid.models.served_model import EngineAdapter
from pellucid.models.store import Store
from pellucid.text.assistant import LocalAssistant
from pellucid.text.loading_protocols import AdapterStatus, stored_status


@dataclass(eq=False)
class EngineAdapters:
    """An implementation of ``Adapters`` with engines that load adapters from the store's folder.

    The engines must see the folder under the same path. ``sync`` must be called after each check of
    the engines.
    """

    membership: Membership
    assistant: LocalAssistant
    store: Store
    _cards: dict[str, AdapterCard] = field(default_factory=dict)  # Of adapters that were loaded here.
    _revisions: dict[str, str] = field(default_factory=dict)  # Of served adapters.
    _unloading: set[asyncio.Task[None]] = field(default_factory=set)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self, folder: str, *, name: str | None = None, model: str | None = None) -> AdapterStatus:
        async with self._lock:
            card = await asyncio.to_thread(lambda: read_card(adapter_folder(self.store, folder), name))
            base = self._base(card, model)
            try:
                await self.membership.adapters.load(base, card.name, card.path.absolute())
                self._cards[f"{base}:{card.name}"] = card
            finally:
                await self._serve()
            return self._status(f"{base}:{card.name}")

    async def unload(self, id: str) -> tuple[AdapterStatus, Future[None]]:
        async with self._lock:
            missing = (model for model in self._all_missing() if id in (model, model.rpartition(":")[2]))
            model = next(missing, None) or self.assistant.models.find(id).name
            if model not in self._revisions and model not in self.membership.adapters.loaded():
                raise NotFoundError(f"{id} is a model, not an adapter: only adapters can be unloaded.")
            status = self._status(model)
            self.membership.adapters.forget(model)
            ended = self._remove(model)
            task = asyncio.ensure_future(self.membership.adapters.unload(model, ended))
            self._unloading.add(task)
            task.add_done_callback(self._unloading.discard)
            return status, ended

    def list(self) -> list[AdapterStatus]:
        models = [served.model for served in self.assistant.models.all()]
        loaded = [self._status(model.name) for model in models if model.base is not None]
        loaded += [replace(self._status(model), id=None) for model in self._all_missing()]
        paths = {one.card.path for one in loaded if one.card is not None}
        return loaded + [stored_status(path) for path in stored_adapters(self.store) if path not in paths]

    async def sync(self) -> None:
        if not self._lock.locked():  # The holder of the lock calls `_serve` at its end.
            async with self._lock:
                await self._serve()

    async def _serve(self) -> None:
        engines, fleet = self.membership.adapters, self.membership.fleet
        found = {model: base for model, base in engines.served().items() if not fleet.is_removed(model)}
        for model in [model for model in self._revisions if model not in found]:
            self._remove(model)
        bases = {served.name: served.model for served in self.assistant.models.all()}
        for model, base in found.items():
            revision = engines.revision(model)
            if self._revisions.get(model) != revision:
                name = model.removeprefix(f"{base}:")
                fleet.add_adapter(model, FleetAdapter(base, name, revision))
                source = bases[base]
                calibration = None if source.calibration is None else source.calibration.of_variant(name, revision)
                await self.assistant.models.add(
                    replace(source, name=model, calibration=calibration, base=source.name, adapter=EngineAdapter(name))
                )
                self._revisions[model] = revision
                self.membership.on_new_models()

    def _remove(self, model: str) -> Future[None]:
        if self._revisions.pop(model, None) is None:  # No engine has the adapter.
            ended: Future[None] = Future()
            ended.set_result(None)
            return ended
        ended = self.assistant.models.remove(model)
        self.membership.on_new_models()
        return ended

    def _base(self, card: AdapterCard, name: str | None) -> str:
        if name is not None:
            model = self.assistant.models.find(name).model
            if model.base is not None:
                raise AdapterError(f"{model.name} already has an adapter: name its base, {model.base}.", param="model")
            return model.name
        bases = [served.model for served in self.assistant.models.all() if served.model.base is None]
        made_for = [
            model for model in bases if any(is_made_for(card, given) for given in (model.name, str(model.path)))
        ]
        if len(made_for) == 1 or (len(bases) == 1 and card.base is None):
            return (made_for or bases)[0].name
        purpose = f"was made for {card.base}" if card.base else "does not state its base model"
        raise AdapterError(
            f"The adapter {card.name} {purpose}, and this server has {', '.join(model.name for model in bases)}: "
            "name the base model.",
            param="model",
        )

    def _all_missing(self) -> Sequence[str]:
        return [model for model in self.membership.adapters.loaded() if model not in self._revisions]

    def _status(self, model: str) -> AdapterStatus:
        base, _, name = model.rpartition(":")
        problems = " ".join(f"{url}: {reason}" for url, reason in self.membership.adapters.problems(model).items())
        is_own = model in self.membership.adapters.loaded()
        card = self._cards.get(model) if is_own else None
        return AdapterStatus(name, card, model, base, problems or None)
