"""A server with a model from a file, and two downloaded models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from pellucid.api.server_state import ServerState
from pellucid.config import load_settings
from pellucid.models.load import LoadedModel, load
from pellucid.models.manifest import Manifest, StoredFile
from pellucid.serving import model_loading
from pellucid.serving.assemble import assemble_server
from pellucid.serving.model_loading import LoadedModels
from pellucid.system.progress import Progress, Silent
from support.models.model_files import byte_level_bpe, write_gguf
from support.models.tiny_models import tiny_llama
from support.servers.http_servers import LiveServer, live

FIRST, SECOND, THIRD = "first", "org/second", "org/third"


def downloaded(folder: Path) -> Path:
    """Return a cache with two downloaded models."""
    for seed, name in enumerate((SECOND, THIRD), 1):
        model = folder / "models" / name.replace("/", "--")
        model.mkdir(parents=True)
        path = write_gguf(model / "model.gguf", tiny_llama(seed, vocab_size=320), "llama", byte_level_bpe(320))
        file = StoredFile(path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        manifest = Manifest(name, "a test", "mit", path.name, (file,))
        (model / "manifest.json").write_text(json.dumps(asdict(manifest)))
    return folder


@contextmanager
def assembled(cache: Path, **settings: Any) -> Iterator[tuple[ServerState, LoadedModels]]:
    """Return the state of a server with a first model from a file."""
    path = write_gguf(cache / "first.gguf", tiny_llama(vocab_size=320), "llama", byte_level_bpe(320))
    parts = assemble_server(load_settings(models=str(path), cache=cache, **({"context": 256} | settings)), Silent())
    loader = parts.assistant.models.loader
    assert isinstance(loader, LoadedModels)
    state = ServerState(models=(FIRST,), grace=0.0)
    state.open(parts.assistant, parts.engine, parts.adapters)
    try:
        yield state, loader
    finally:
        parts.engine.close()


@contextmanager
def serving(cache: Path, **settings: Any) -> Iterator[tuple[LiveServer, LoadedModels]]:
    """Serve a first model from a file."""
    with assembled(cache, **settings) as (state, loader), live(state) as server:
        yield server, loader


@contextmanager
def held_loading(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold each loading after a quarter of the packing, until the end of the context."""
    end = Event()

    def held(source: str, *, progress: Progress, **options: Any) -> LoadedModel:
        progress.start("packing", 4)
        progress.advance(1)
        assert end.wait(60)
        return load(source, progress=progress, **options)

    monkeypatch.setattr(model_loading, "load", held)
    try:
        yield
    finally:
        end.set()
