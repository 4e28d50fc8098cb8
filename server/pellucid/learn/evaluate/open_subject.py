"""Opens the model under evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus
from pellucid.completion.edits.edit_gate import gate_of
from pellucid.config import Settings
from pellucid.errors import UnavailableError, unknown_model
from pellucid.learn.evaluate.openai_server import OpenAIServer
from pellucid.learn.evaluate.subjects import Ability, Subject
from pellucid.models.adapter_folder import CONFIG, WEIGHTS, AdapterCard
from pellucid.models.catalog import catalog
from pellucid.models.fingerprint import fingerprint
from pellucid.models.load import split_quant
from pellucid.models.store import Store, local_path
from pellucid.serving.assemble import assemble, split_adapter
from pellucid.system.memory import resident
from pellucid.terminal.progress_bars import Bars
from pellucid.vocabulary.model_card import ModelCard


@asynccontextmanager
async def open_local(settings: Settings, name: str) -> AsyncIterator[Subject]:
    with Bars() as bars:
        # The settings' adapters are not evaluated.
        engine, assistant = assemble(settings.model_copy(update={"adapters": ()}), [name], bars)
    try:
        # A model with an adapter is listed before the base.
        served = assistant.models.find(None)
        card, loaded = served.card(), served.model
        model = engine.model(card.name)
        parameters = None if model.cost is None else model.cost.body + model.cost.head
        identity: dict[str, str | int] = {
            "name": card.name,
            "description": card.description,
            "weights": card.weight_bytes,
            "source": source_of(split_adapter(name, Store(settings.cache))[0]),
        }
        if isinstance(loaded.adapter, AdapterCard):
            identity["adapter"] = fingerprint((loaded.adapter.path / CONFIG, loaded.adapter.path / WEIGHTS))[:16]
        yield Subject(
            card.name,
            card.description,
            identity,
            assistant,
            _abilities(card),
            card.context,
            card.infill,
            card.chat,
            card.weight_bytes,
            parameters,
            resident,
            card.files,
            gate_of(card)[0],
        )
    finally:
        engine.close()


@asynccontextmanager
async def open_served(url: str, key: str | None, name: str) -> AsyncIterator[Subject]:
    """Open a model on a Pellucid server or, with fewer abilities, an OpenAI-compatible server."""
    url = url.rstrip("/").removesuffix("/v1")
    async with Client(url, key) as client:
        health = await client.server_health()
        if health.status is HealthStatus.ABSENT:
            raise UnavailableError(f"No server answers at {client.url}: start one there, or omit --server.")
        if health.status is not HealthStatus.FOREIGN:
            cards = await client.cards()
            card = next((card for card in cards if card.name == name), None)
            if card is None:
                raise unknown_model(name, (card.name for card in cards), f"at {client.url}")
            identity: dict[str, str | int] = {
                "name": card.name,
                "description": card.description,
                "weights": card.weight_bytes,
                "url": client.url,
                "revision": card.revision or "",
            }
            described = f"{card.description}, served at {client.url}"
            yield Subject(
                name,
                described,
                identity,
                client,
                _abilities(card),
                card.context,
                card.infill,
                card.chat,
                card.weight_bytes,
                files=card.files,
                edit_gate=gate_of(card)[0],
            )
            return
    interface = OpenAIServer(url, key)
    try:
        yield await interface.subject(name)
    finally:
        await interface.aclose()


def _abilities(card: ModelCard) -> frozenset[Ability]:
    return frozenset(Ability) if card.infill else frozenset(Ability) - {Ability.GAPS}


def source_of(name: str) -> str:
    """Return a string that changes with the weights, without reading all weights."""
    bare, _ = split_quant(name)
    path = local_path(bare)
    if path is None:
        entry = catalog().get(bare)
        return bare if entry is None else f"{bare} {hashlib.sha256(repr(entry).encode()).hexdigest()[:16]}"
    folder = path if path.is_dir() else path.parent
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    states = [(file.relative_to(folder).as_posix(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(states).encode()).hexdigest()[:16]
