"""Serve models by vLLM's routes: ``python -m support.fleet.serve_stand_in PORT MODEL...``."""

from __future__ import annotations

import sys

import uvicorn

from pellucid.config import load_settings
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from support.fleet.stand_in_replica import StandInReplica

CONTEXT = 8192


def main() -> None:
    """Load and serve the models until a signal."""
    port, *names = sys.argv[1:]
    store = Store(load_settings().cache)
    models = [load(name, store=store, progress=Silent()) for name in names]
    engine = LocalEngine(
        {model.name: model.model for model in models}, EngineSettings(context=CONTEXT + 1, prefix_memory=0)
    )
    replica = StandInReplica(engine, {model.name: model.tokenizer for model in models}, context=CONTEXT + 1)
    try:
        uvicorn.run(replica.app, host="127.0.0.1", port=int(port), log_level="critical")
    finally:
        engine.close()


if __name__ == "__main__":
    main()
