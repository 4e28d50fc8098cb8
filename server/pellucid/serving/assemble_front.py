"""A server with remote engines, without torch: only the tokenizers are local."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pellucid.config import Settings
from pellucid.errors import ConfigError, ModelError, UnavailableError
from pellucid.fleet.fleet import Fleet
from pellucid.fleet.join_check import PROBE, JoinCheck
from pellucid.fleet.membership import Membership, ReplicaLimits, engine_url
from pellucid.models.calibrations import CalibrationFile
from pellucid.models.catalog import CatalogEntry, catalog, infill_format, next_edit_form
from pellucid.models.formats.gguf import GGUF
from pellucid.models.served_model import ModelFacts, ServedModel
from pellucid.models.store import Store, local_path
from pellucid.models.tokenizers import folder_tokenizer, gguf_tokenizer
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.serving.engine_adapters import EngineAdapters
from pellucid.serving.server_parts import ServerParts
from pellucid.system.progress import Progress
from pellucid.system.regular_files import read_text
from pellucid.text.assistant import LocalAssistant

ELSEWHERE = "elsewhere"
"""Weight form in the name of a calibration file."""


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """A model that engines serve as ``name``, and the file or folder of the tokenizer."""

    name: str
    path: Path
    entry: CatalogEntry | None

    def tokenizer(self) -> Tokenizer:
        if self.path.is_file():
            return gguf_tokenizer.read_tokenizer(GGUF(self.path))
        return folder_tokenizer.read_tokenizer(self.path, _vocab_size(self.path))


def check_front(settings: Settings) -> None:
    """Raise ConfigError for contradictory models and engines, before any engine is asked."""
    for model in settings.models:
        _split(model)
    for url in settings.engines:
        engine_url(url)
    if settings.kv_cache != "exact":
        raise ConfigError("--kv-cache is for models of this process: choose the cache of an engine at its start.")
    if settings.adapters:
        raise ConfigError(
            "--adapter is for models of this process: start the server without it, then run `pellucid adapters load`."
        )


@dataclass(eq=False)
class FrontModels:
    sources: Sequence[RemoteSource]
    tokenizers: Mapping[str, Tokenizer]
    membership: Membership
    check: JoinCheck
    store: Store

    def all(self) -> list[ServedModel]:
        """Return the models; before an engine has computed a model, no calibration is valid."""
        return [self._served(source) for source in self.sources]

    async def sync(self, assistant: LocalAssistant) -> None:
        known = {served.name: served.model for served in assistant.models.all()}
        changed = [model for model in self.all() if model != known[model.name]]
        for model in changed:
            await assistant.models.add(model)
        if changed:
            self.membership.on_new_models()

    def _served(self, source: RemoteSource) -> ServedModel:
        fleet, tokenizer, revision = (
            self.membership.fleet,
            self.tokenizers[source.name],
            self.check.revision(source.name),
        )
        versions = ", ".join(
            sorted({replica.version for replica in fleet.replicas.values() if source.name in replica.models})
        )
        facts = ModelFacts(tokenizer.vocab_size, fleet.context(source.name), 0, f"vLLM {versions}".rstrip())
        path = self.store.calibration_path(source.name, ELSEWHERE)
        calibration = None if revision is None else CalibrationFile(path, f"{revision}-{ELSEWHERE}")
        infill = infill_format(tokenizer.special, source.entry)
        next_edit = next_edit_form(tokenizer.special, source.entry, source.name, source.path.name)
        return ServedModel(
            source.name, tokenizer, infill, source.entry, source.path, facts, calibration, next_edit=next_edit
        )


def assemble_front(settings: Settings, progress: Progress) -> ServerParts:
    """Read the tokenizers. Blocks. The engines join with the updates of the membership."""
    store = Store(settings.cache)
    sources = [_source(model, store, progress) for model in settings.models]
    tokenizers = {source.name: source.tokenizer() for source in sources}
    vocabularies = {name: tokenizer.vocab_size for name, tokenizer in tokenizers.items()}
    check = JoinCheck({name: tokenizer.encode(PROBE) for name, tokenizer in tokenizers.items()}, vocabularies)
    key = None if settings.engine_key is None else settings.engine_key.get_secret_value()
    limits = ReplicaLimits(settings.engine_slots, settings.queue, key)
    fleet = Fleet(vocabularies, sys.maxsize if settings.context == "auto" else settings.context)
    membership = Membership(fleet, check, limits, settings.engines, settings.engines_file)
    models = FrontModels(sources, tokenizers, membership, check, store)
    assistant = LocalAssistant(fleet, models.all())
    adapters = EngineAdapters(membership, assistant, store)
    membership.on_update += [partial(models.sync, assistant), adapters.sync]
    return ServerParts(fleet, assistant, adapters, membership)


async def join_engines(parts: ServerParts) -> None:
    """Let the engines join, and close the connections, for work in a separate event loop."""
    assert parts.membership is not None, "the parts are those of a front"
    await parts.membership.update()
    await parts.membership.fleet.replicas.disconnect()
    replicas = parts.membership.replicas()
    for card in parts.assistant.models.cards():
        if card.base is None and not any(replica.takes_part and card.name in replica.models for replica in replicas):
            reasons = " ".join(f"{one.url}: {one.problem}" for one in replicas if one.problem)
            raise UnavailableError(f"No engine computes {card.name}. {reasons or 'None is listed.'}")


def _source(model: str, store: Store, progress: Progress) -> RemoteSource:
    name, origin = _split(model)
    path = local_path(origin)
    entry = None if path else catalog().get(origin)
    return RemoteSource(name, path or store.pull(origin, progress), entry or catalog().get(name))


def _split(model: str) -> tuple[str, str]:
    """Split ``NAME=FOLDER``; a name alone is also the source of the tokenizer."""
    name, equals, origin = model.partition("=")
    if not name or (equals and not origin):
        raise ConfigError(
            f"--model is {model!r}, but with --engine it must be NAME=FOLDER, such as coder=./qwen2.5-coder-7b."
        )
    return name, origin or name


def _vocab_size(folder: Path) -> int:
    path = folder / "config.json"
    try:
        size = json.loads(read_text(path, error=ModelError)).get("vocab_size")
    except FileNotFoundError:
        raise ModelError(
            f"{folder} has no config.json: give a folder with the model's configuration and tokenizer."
        ) from None
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from None
    if not isinstance(size, int) or size < 1:
        raise ModelError(f"{path} states no vocab_size: copy the model's own config.json.")
    return size
