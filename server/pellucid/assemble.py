"""Models, engine and assistant put together as the settings say."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pellucid.assistant import Assistant
from pellucid.config import Settings
from pellucid.engine.engine import Engine
from pellucid.engine.lane import EngineSettings
from pellucid.engine.model import Model
from pellucid.errors import ConfigError
from pellucid.models.disk import human
from pellucid.models.load import LoadedModel, load, served_name
from pellucid.models.prefixes import PrefixFile
from pellucid.models.progress import Progress
from pellucid.models.store import Store
from pellucid.processors import threads_to_use


def assemble(settings: Settings, names: Sequence[str], progress: Progress) -> tuple[Engine, Assistant]:
    """Load models, fetching and packing what is not there yet, and start an engine for them; blocks.

    The engine is the caller's to close. Raises ModelError, NotFoundError for a name that nobody knows, or ConfigError
    for models that would have one name, or whose caches do not fit into memory.
    """
    torch.set_num_threads(threads_to_use(settings.threads))
    names = _distinct(names)
    store = Store(settings.cache)
    loaded = [load(name, device=settings.device, quant=settings.quant, store=store, progress=progress) for name in names]
    limits = EngineSettings(
        slots=settings.slots,
        context=settings.context,
        chunk=settings.chunk,
        queue=settings.queue,
        lookup=settings.lookup,
        prefix_memory=settings.prefix_memory * 2**20 // len(loaded),
    )
    models = {model.name: model.model for model in loaded}
    try:
        engine = Engine(models, limits, saved=_saved(settings, loaded))
    except (RuntimeError, MemoryError) as error:  # torch's and numpy's words for memory that cannot be had
        size = sum(_cache_bytes(model, limits) for model in models.values())
        raise ConfigError(
            f"The cache of {limits.slots} slots of up to {limits.context} tokens takes {human(size)} ({size} bytes), "
            "which cannot be had: set fewer --slots or a smaller --context."
        ) from error
    return engine, Assistant(engine, loaded)


def _saved(settings: Settings, loaded: Sequence[LoadedModel]) -> dict[str, PrefixFile]:
    """Where the models' prefixes are saved. What is not wished any more is deleted."""
    files = {model.name: model.prefixes for model in loaded if model.prefixes is not None}
    if not settings.prefix_save:
        for file in files.values():
            file.delete()
    return files if settings.prefix_save and settings.prefix_memory else {}


def _distinct(names: Sequence[str]) -> list[str]:
    """The names without repetitions. Raises ConfigError for two models that would be served under one name."""
    served: dict[str, str] = {}
    for name in names:
        other = served.setdefault(served_name(name), name)
        if other != name:
            raise ConfigError(f"{other} and {name} would both be served as {served_name(name)}: rename one of them, or leave one out.")
    return list(served.values())


def _cache_bytes(model: Model, limits: EngineSettings) -> int:
    return limits.slots * min(limits.context, model.context) * model.cache_shape.bytes_per_token
