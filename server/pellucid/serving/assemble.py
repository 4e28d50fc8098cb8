"""Models, engine and assistant from the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pellucid.config import Settings
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings, storage_bytes
from pellucid.errors import ConfigError
from pellucid.models.adapter import adapt, choose_base
from pellucid.models.adapter_folder import adapter_folder, is_stored, local_adapter, read_card
from pellucid.models.load import LoadedModel, find_device, load, served_name, split_quant
from pellucid.models.saved_prefixes import PrefixFile
from pellucid.models.store import Store, local_path
from pellucid.serving.adapter_loading import LoadedAdapters
from pellucid.serving.cache_fit import fit_cache, room_for_caches
from pellucid.serving.model_loading import LoadedModels
from pellucid.serving.server_parts import ServerParts
from pellucid.system.atomic_files import human
from pellucid.system.processors import use_threads
from pellucid.system.progress import Progress
from pellucid.text.assistant import LocalAssistant


def assemble(
    settings: Settings,
    names: Sequence[str],
    progress: Progress,
    *,
    adapters: Sequence[str] = (),
    with_saved_prefixes: bool = False,
) -> tuple[LocalEngine, LocalAssistant]:
    """Load models, downloading and packing if necessary, and start an engine. Blocks.

    A name may be ``model:adapter``. Each of ``adapters`` is served with its own base model; the
    settings' adapters are not loaded by default. The caller closes the engine.

    ``with_saved_prefixes`` is for servers: a benchmark would find its own prompts there, and
    replace the prompts of the user's editor.
    """
    use_threads(settings.threads)
    store = Store(settings.cache)
    asked = [split_adapter(name, store) for name in names]
    bases = {
        name: load(name, device=settings.device, quant=settings.quant, store=store, progress=progress)
        for name in _distinct([name for name, _ in asked])
    }
    room = room_for_caches(settings, sum(base.model.weight_bytes for base in bases.values()))
    count = len(adapters) + sum(adapter is not None for _, adapter in asked)
    slots = settings.slots + count * settings.adapter_slots  # Of a model with all adapters.
    contexts = {}
    for name, base in bases.items():
        share = None if room is None else room // len(bases)
        bases[name], contexts[base.name] = fit_cache(settings, base, share, slots, progress)
    variants = _variants(store, asked, bases, adapters)
    limits = EngineSettings(
        slots=settings.slots,
        chunk=settings.chunk,
        queue=settings.queue,
        lookup=settings.lookup,
        prefix_memory=settings.prefix_memory * 2**20,
    )
    served = [*bases.values(), *variants]
    saved = _saved(settings, served) if with_saved_prefixes else {}
    engine = LocalEngine({}, limits)
    for one in served:
        context, own_slots = contexts[one.base or one.name], settings.adapter_slots if one.base else settings.slots
        try:
            engine.add_model(one.name, one.model, slots=own_slots, context=context, saved=saved.get(one.name)).result()
        except (RuntimeError, MemoryError) as error:  # Torch and numpy report failed allocations like this.
            size = storage_bytes(replace(limits, slots=own_slots, context=context), one.model)
            raise ConfigError(
                f"The KV cache of {own_slots} slots of up to {context} tokens of {one.name} needs {human(size)} "
                f"({size} bytes), which cannot be allocated: use fewer --slots or a smaller --context."
            ) from error
    first = f"{served_name(asked[0][0])}:{asked[0][1]}"
    return engine, LocalAssistant(engine, sorted(served, key=lambda model: model.name != first))


def assemble_server(settings: Settings, progress: Progress) -> ServerParts:
    engine, assistant = assemble(
        settings, settings.models, progress, adapters=settings.adapters, with_saved_prefixes=True
    )
    bases = [split_adapter(name, Store(settings.cache))[0] for name in settings.models]
    models = LoadedModels(settings, engine, assistant, {served_name(name): name for name in bases})
    assistant.models.loader = models
    return ServerParts(engine, assistant, LoadedAdapters(models))


def check_names(settings: Settings) -> None:
    find_device(settings.device)
    store = Store(settings.cache)
    for name in settings.models:
        model, _ = split_quant(split_adapter(name, store)[0])
        if local_path(model) is None:
            store.find(model)


def split_adapter(name: str, store: Store) -> tuple[str, str | None]:
    model, colon, adapter = name.rpartition(":")
    return (model, adapter) if colon and model and is_stored(store, adapter) else (name, None)


def _variants(
    store: Store, asked: Sequence[tuple[str, str | None]], bases: Mapping[str, LoadedModel], adapters: Sequence[str]
) -> list[LoadedModel]:
    loaded = list(bases.values())
    wanted = [(read_card(adapter_folder(store, adapter)), base) for base, adapter in asked if adapter is not None]
    pairs = [(card, next(model for model in loaded if model.name == served_name(base))) for card, base in wanted]
    cards = [read_card(local_adapter(store, adapter)) for adapter in adapters]
    pairs += [(card, choose_base(card, loaded)) for card in cards]
    variants: dict[str, LoadedModel] = {}
    for card, base in pairs:
        name = f"{base.name}:{card.name}"
        if name in variants and variants[name].path != card.path:
            raise ConfigError(
                f"{variants[name].path} and {card.path} would both be served as {name}: rename one of them."
            )
        variants[name] = variants.get(name) or adapt(base, card)
    return list(variants.values())


def _saved(settings: Settings, loaded: Sequence[LoadedModel]) -> dict[str, PrefixFile]:
    files = {model.name: model.prefixes for model in loaded if model.prefixes is not None}
    if not settings.prefix_save:
        for file in files.values():
            file.delete()
    return files if settings.prefix_save and settings.prefix_memory else {}


def _distinct(names: Sequence[str]) -> list[str]:
    served: dict[str, str] = {}
    for name in names:
        other = served.setdefault(served_name(name), name)
        if other != name:
            raise ConfigError(
                f"{other} and {name} would both be served as {served_name(name)}: rename one of them, or remove one."
            )
    return list(served.values())
