"""The KV cache of a loaded model: exact or in int8, and as long as asked for or as fits."""

from __future__ import annotations

from pellucid.config import Settings
from pellucid.errors import ConfigError, UnavailableError
from pellucid.models.load import LoadedModel, find_device, has_int8_cache, with_int8_cache
from pellucid.system.atomic_files import human
from pellucid.system.memory import available_memory, total_memory
from pellucid.system.progress import Progress

DEFAULT_SHARE = 0.75
"""The share of the machine's memory for models, and of the free memory for caches."""

STEP_TOKENS = 1024
"""A context that is fitted to the memory is a multiple of this number."""


def model_budget(settings: Settings) -> int:
    """Return the memory for the weights and caches of all models, in bytes."""
    total = total_memory(find_device(settings.device))
    return settings.model_memory * 2**20 or int(DEFAULT_SHARE * total)


def room_for_caches(settings: Settings, used: int) -> int | None:
    """Return the bytes for caches of slots; ``used`` are the bytes of loaded models.

    None if the settings do not depend on memory. Raises ConfigError if the free memory is unknown.
    """
    if "auto" not in (settings.context, settings.kv_cache):
        return None
    free = available_memory(find_device(settings.device))
    if free is None:
        raise ConfigError(
            "This system does not tell how much memory is free: set context to a number, and kv_cache to exact or int8."
        )
    return min(int(DEFAULT_SHARE * free), model_budget(settings) - used) - settings.prefix_memory * 2**20


def fit_cache(
    settings: Settings, loaded: LoadedModel, room: int | None, slots: int, progress: Progress
) -> tuple[LoadedModel, int]:
    """Return the model with the form of the cache that the settings choose, and its context.

    ``room`` is from ``room_for_caches``. Raises UnavailableError if no context fits the room, and
    ConfigError for a model without an int8 cache.
    """
    limit = loaded.model.context
    wanted = limit if settings.context == "auto" else min(settings.context, limit)
    if settings.kv_cache == "int8":
        loaded = with_int8_cache(loaded)
    if room is None:
        return loaded, wanted
    if settings.kv_cache == "auto" and has_int8_cache(loaded) and _fitting(loaded, room, slots) < wanted:
        loaded = with_int8_cache(loaded)
    context, fitting = wanted, _fitting(loaded, room, slots)
    if settings.context == "auto" and fitting < wanted:
        context = fitting // STEP_TOKENS * STEP_TOKENS
        if context <= 0:
            raise UnavailableError(
                f"The free memory has {human(max(room, 0))} for the KV cache of {loaded.name}, too little for {slots} "
                f"slots of {STEP_TOKENS} tokens: use fewer --slots, or --kv-cache int8."
            )
    shape = loaded.model.cache_shape
    progress.note(
        f"{loaded.name}: context {context} of at most {limit} tokens, KV cache in {shape.dtype}. {slots} slots take up "
        f"to {human(slots * context * shape.bytes_per_token)}; the free memory has {human(max(room, 0))} for caches."
    )
    return loaded, context


def _fitting(loaded: LoadedModel, room: int, slots: int) -> int:
    return room // (slots * loaded.model.cache_shape.bytes_per_token)
