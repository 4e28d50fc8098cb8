"""Models, engine and assistant put together as the settings say."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pellucid.assistant import Assistant
from pellucid.config import Settings
from pellucid.engine.engine import Engine
from pellucid.engine.lane import EngineSettings
from pellucid.models.load import load
from pellucid.models.progress import Progress
from pellucid.models.store import Store


def assemble(settings: Settings, names: Sequence[str], progress: Progress) -> tuple[Engine, Assistant]:
    """Load models, fetching and packing what is not there yet, and start an engine for them; blocks.

    The engine is the caller's to close. Raises ModelError, or NotFoundError for a name that nobody knows.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    store = Store(settings.cache)
    loaded = [load(name, device=settings.device, quant=settings.quant, store=store, progress=progress) for name in dict.fromkeys(names)]
    limits = EngineSettings(slots=settings.slots, context=settings.context, chunk=settings.chunk, queue=settings.queue)
    engine = Engine({model.name: model.model for model in loaded}, limits)
    return engine, Assistant(engine, loaded)
