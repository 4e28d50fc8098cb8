"""Export of a model as a folder of weights, optionally with an adapter merged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.lora_matrices import LowRank
from pellucid.errors import AdapterError, ConfigError, NotSupportedError
from pellucid.models.adapter import read_adapter
from pellucid.models.adapter_folder import AdapterCard
from pellucid.models.families.family import Family
from pellucid.models.families.folder_decoder import config_json
from pellucid.models.families.registry import BY_MODEL_TYPE
from pellucid.models.formats.gguf import GGUF
from pellucid.models.load import Checkpoint
from pellucid.models.tokenizers import gguf_tokenizer
from pellucid.system import atomic_files
from pellucid.system.progress import Progress

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

_SHARD_BYTES = 2 * 2**30
"""Maximum bytes per file, except for a single larger tensor."""

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.gguf")


def merge(base: Checkpoint, card: AdapterCard, folder: Path, dtype: str, progress: Progress) -> None:
    """Write the base with the adapter into a new folder, in Hugging Face's layout."""
    config = _check(base, folder, dtype)
    if card.fingerprint is not None and card.fingerprint != base.fingerprint:
        raise AdapterError(
            f"The adapter {card.name} was made for other weights than those of {base.name}: train it again."
        )
    _write(
        base,
        config,
        read_adapter(card, config).changes,
        folder,
        dtype,
        f"merging {card.name} into {base.name}",
        progress,
    )


def export(base: Checkpoint, folder: Path, dtype: str, progress: Progress) -> None:
    """Write a model into a new folder, in Hugging Face's layout, for other engines."""
    _write(base, _check(base, folder, dtype), {}, folder, dtype, f"writing {base.name}", progress)


def _check(base: Checkpoint, folder: Path, dtype: str) -> DecoderConfig:
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}, but must be one of {', '.join(DTYPES)}.")
    if folder.exists():
        raise ConfigError(f"{folder} already exists: name another folder, or delete it.")
    if base.config is None:
        raise NotSupportedError(
            f"{base.name} cannot be written as a folder: use a model of {', '.join(BY_MODEL_TYPE)}."
        )
    config_json(base.family, base.config, ())  # Raises for a shape that a folder cannot state.
    return base.config


def _write(
    base: Checkpoint,
    config: DecoderConfig,
    changes: Mapping[str, LowRank],
    folder: Path,
    dtype: str,
    label: str,
    progress: Progress,
) -> None:
    part = folder.with_name(f"{folder.name}.part")
    with atomic_files.errors_explained(folder.parent):
        shutil.rmtree(part, ignore_errors=True)  # From an interrupted run.
        part.mkdir(parents=True)
        progress.start(label, 2 * (config.body_parameters + config.head_parameters))
        try:
            names = _write_weights(part, _changed(base, changes, DTYPES[dtype]), progress)
            fields = config_json(base.family, config, {name.removeprefix("model.") for name in names})
            fields["architectures"] = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[fields["model_type"]]]
            if base.path.is_file():
                _write_config(part, GGUF(base.path), fields, dtype)
            else:
                _copy_rest(base.path, part, base.family, fields, dtype)
            part.rename(folder)  # The folder is complete or does not exist.
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _changed(base: Checkpoint, changes: Mapping[str, LowRank], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    for name, weight in base.weights():
        change = changes.get(name.removesuffix(".weight"))
        changed = weight if change is None else weight.float() + torch.from_numpy(change.product)
        stored = base.family.stored_name(name)
        shift = base.family.shift(name)
        changed = changed.float() - shift if shift else changed
        yield stored if stored == "lm_head.weight" else f"model.{stored}", changed.to(dtype).contiguous()


def _write_weights(folder: Path, weights: Iterator[tuple[str, Tensor]], progress: Progress) -> set[str]:
    """Write files of bounded size; return the tensor names."""
    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}
    total = 0

    def write() -> None:
        if held:
            shards.append(list(held))
            save_file(held, folder / f"{len(shards)}.safetensors", {"format": "pt"})
            held.clear()

    for name, tensor in weights:
        if held and sum(other.nbytes for other in held.values()) + tensor.nbytes > _SHARD_BYTES:
            write()
        held[name] = tensor
        total += tensor.nbytes
        progress.advance(2 * tensor.numel())
    write()
    files: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        (folder / f"{number}.safetensors").rename(folder / name)
        files |= dict.fromkeys(names, name)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": files}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return set(files)


def _copy_rest(source: Path, folder: Path, family: Family, fields: Mapping[str, Any], dtype: str) -> None:
    for path in source.iterdir():
        if path.is_file() and not any(path.match(pattern) for pattern in _WEIGHTS):
            shutil.copyfile(path, folder / path.name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    changed = {} if fields["model_type"] in family.model_types else fields  # The parts of matrices make it another.
    (folder / "config.json").write_text(json.dumps(config | changed | {"dtype": dtype}, indent=2), encoding="utf-8")


def _write_config(folder: Path, file: GGUF, fields: Mapping[str, Any], dtype: str) -> None:
    gguf_tokenizer.save_tokenizer(file, folder)
    eos = file.id_under("tokenizer.ggml.eos_token_id", fields["vocab_size"])
    ends = {} if eos is None else {"eos_token_id": eos}
    (folder / "config.json").write_text(json.dumps({**fields, **ends, "dtype": dtype}, indent=2), encoding="utf-8")
