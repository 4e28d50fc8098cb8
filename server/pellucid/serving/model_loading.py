"""Model loading and unloading for a server with an engine in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from pellucid.client.assistant_protocol import LoadState, ModelLoad
from pellucid.config import Settings
from pellucid.engine.local_engine import LocalEngine
from pellucid.errors import InvalidRequestError, UnavailableError, unknown_model
from pellucid.models.load import LoadedModel, load, split_quant, stored_bytes
from pellucid.models.store import Store
from pellucid.serving.cache_fit import fit_cache, model_budget, room_for_caches
from pellucid.serving.model_facts import model_facts
from pellucid.system.atomic_files import human
from pellucid.system.daemon_threads import in_daemon_thread
from pellucid.system.memory import return_free_memory
from pellucid.system.progress import Noted, Silent, Work
from pellucid.text.assistant import LocalAssistant
from pellucid.text.served_models import ServedModels
from pellucid.text.text_model import TextModel
from pellucid.vocabulary.model_facts import ModelFacts


@dataclass(eq=False)
class LoadedModels:
    """An implementation of ``ModelLoader`` for an event loop.

    ``sources`` are the names and paths of the models in the settings, by served name.
    """

    settings: Settings
    engine: LocalEngine
    assistant: LocalAssistant
    sources: dict[str, str]
    store: Store = field(init=False)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _models: ServedModels = field(init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # A single model is loaded or unloaded at a time.
    _loads: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _unloads: set[asyncio.Task[None]] = field(default_factory=set)
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _keep: dict[str, float] = field(default_factory=dict)
    _timers: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    _progress: dict[str, Noted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = Store(self.settings.cache)
        self._models = self.assistant.models

    @property
    def budget(self) -> int:
        """The memory for the weights and caches of all models, in bytes."""
        return model_budget(self.settings)

    @property
    def used(self) -> int:
        """The memory of the loaded models, in bytes."""
        models = [(served.model.facts, self.engine.status(served.name)) for served in self._models.all()]
        return sum(facts.weight_bytes + status.cache_bytes + status.parked_bytes for facts, status in models)

    async def serve(self, loaded: LoadedModel, context: int, slots: int = 0) -> None:
        """Serve a model or a variant with an adapter; 0 ``slots`` means the number in the settings.

        ``context`` is the maximum number of tokens of a sequence.
        Raises UnavailableError without memory for the cache.
        """
        saves = self.settings.prefix_save and self.settings.prefix_memory > 0
        try:
            added = await asyncio.to_thread(
                self.engine.add_model,
                loaded.name,
                loaded.model,
                slots=slots,
                context=context,
                saved=loaded.prefixes if saves else None,
            )
            await asyncio.wrap_future(added)
            await self._models.add(loaded)
        except (RuntimeError, MemoryError) as error:  # Raised by torch and numpy without enough memory.
            raise UnavailableError(
                f"There is not enough memory for the cache of {loaded.name}: unload another model or adapter."
            ) from error

    def knows(self, name: str) -> bool:
        stored = (manifest.name for manifest in self.store.manifests())
        return name in self.sources or split_quant(name)[0] in stored

    async def load(self, name: str) -> None:
        if not self._models.knows(name):
            raise unknown_model(name, [one.name for one in await self.list()], "on this machine")
        task = self._loads.get(name)
        if task is None:
            task = self._loads[name] = asyncio.ensure_future(self._load(name))
            task.add_done_callback(partial(self._end_load, name))
        closing = asyncio.ensure_future(self.closing.wait())
        try:  # A client that hangs up does not stop the loading for further clients.
            await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
        if not task.done():
            raise UnavailableError("The server is shutting down.")
        task.result()

    async def unload(self, name: str) -> None:
        if self._models.knows(name) and not self._models.loaded(name):
            raise InvalidRequestError(f"{name} is not loaded.", param="model")
        served = self._models.find(name)
        if served.model.base is not None:
            raise InvalidRequestError(f"{served.name} is an adapter: unload it with /v1/adapters.", param="model")
        if served.name in self._models.bases_of_adapters():
            raise InvalidRequestError(f"{served.name} has loaded adapters: unload the adapters first.", param="model")
        self._leave(served)

    def keep(self, name: str, seconds: float | None) -> None:
        if seconds is None:
            self._keep.pop(name, None)
        else:
            self._keep[name] = seconds
        self._set_timer(name)

    def note_release(self, name: str) -> None:
        self._released.set()
        self._released.clear()  # Only the current waiters are woken.
        self._set_timer(name)

    def loading(self) -> ModelLoad | None:
        return next((self._load_of(name) for name in self._loads), None)

    async def list(self) -> list[ModelLoad]:
        served = [card.name for card in self._models.cards()]
        stored = [manifest.name for manifest in self.store.manifests()]
        return [self._load_of(name) for name in dict.fromkeys([*served, *self.sources, *stored])]

    async def facts(self) -> Sequence[ModelFacts]:
        return await asyncio.to_thread(model_facts, self.settings)

    def _load_of(self, name: str) -> ModelLoad:
        timer = self._timers.get(name)
        expires = None if timer is None else time.time() + timer.when() - asyncio.get_running_loop().time()
        if name in self._loads:
            progress = self._progress.get(name)
            return ModelLoad(name, "loading", (progress and progress.now) or Work("waiting for other models"), expires)
        served = self._models.loaded(name)
        state: LoadState = "unloaded" if served is None else "unloading" if served.leaving else "loaded"
        return ModelLoad(name, state, expires=expires)

    def _end_load(self, name: str, task: asyncio.Task[None]) -> None:
        del self._loads[name]
        self._progress.pop(name, None)
        if not task.cancelled():
            task.exception()  # Read here, as all clients may have left.

    async def _load(self, name: str) -> None:
        async with self._turn:
            if self._models.loaded(name):
                return
            self._progress[name] = progress = Noted(Silent())
            progress.note("making room in memory")
            await self._make_room(name)
            try:
                work = partial(
                    load,
                    self.sources.get(name, name),
                    device=self.settings.device,
                    quant=self.settings.quant,
                    store=self.store,
                    progress=progress,
                )
                loaded = await asyncio.wrap_future(in_daemon_thread(work, "pellucid-load"))
            except (RuntimeError, MemoryError) as error:
                raise UnavailableError(f"There is not enough memory for {name}: unload another model.") from error
            room = room_for_caches(self.settings, self.used + loaded.model.weight_bytes)
            await self.serve(*fit_cache(self.settings, loaded, room, self.settings.slots, progress))
        self._set_timer(name)

    async def _make_room(self, name: str) -> None:
        """Unload the least recently used models, idle models first, until a model fits."""
        need = await asyncio.to_thread(stored_bytes, self.sources.get(name, name), self.store)
        if need > self.budget:
            raise UnavailableError(
                f"{name} needs about {human(need)}, more than the {human(self.budget)} for all models: start the "
                "server with a larger --model-memory."
            )
        while self.used + need > self.budget:
            pinned = self._models.bases_of_adapters()
            free = [served for served in self._models.all() if served.model.base is None and served.name not in pinned]
            if not free:
                raise UnavailableError(
                    f"There is no room for {name} next to the loaded adapters: unload some adapters."
                )
            victim = min(free, key=lambda served: (bool(served.holders), served.last_used))
            victim.leaving = True
            await self._free(victim)

    def _leave(self, served: TextModel) -> None:
        if not served.leaving:
            served.leaving = True
            task = asyncio.ensure_future(self._unload(served))
            self._unloads.add(task)
            task.add_done_callback(self._unloads.discard)

    async def _unload(self, served: TextModel) -> None:
        async with self._turn:
            if served in self._models.all():
                await self._free(served)

    async def _free(self, served: TextModel) -> None:
        """Unload a model after the last use, unless an adapter was loaded meanwhile."""
        while served.holders:
            await self._released.wait()
        if served.name in self._models.bases_of_adapters():
            served.leaving = False
            return
        self._keep.pop(served.name, None)  # A time of 0 would end the next loading before the first use.
        timer = self._timers.pop(served.name, None)
        if timer is not None:
            timer.cancel()
        await asyncio.wrap_future(self._models.put_away(served))
        return_free_memory()

    def _set_timer(self, name: str) -> None:
        """Restart the count of the time without a request."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        seconds = self._keep.get(name, self.settings.keep_alive or -1)
        if seconds >= 0:
            self._timers[name] = asyncio.get_running_loop().call_later(seconds, self._expire, name)

    def _expire(self, name: str) -> None:
        self._timers.pop(name)
        served = self._models.loaded(name)
        if served is not None and not served.holders and name not in self._models.bases_of_adapters():
            self._leave(served)
