"""A decoder in a Hugging Face folder: configuration, and weights in safetensors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.errors import ModelError
from pellucid.models.formats.decoder_config_check import MAX_POSITIONS, MAX_TOKENS, check
from pellucid.models.tensor_file import TensorFile
from pellucid.models.untrusted_files import Json, damage_explained, read_json, real, shown, whole

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")

TABLE_MODELS = ("pellucid_ngram", "pellucid_logistic")

_ROPES = ("default", "linear", "llama3")
_SHARD = re.compile(r"[\w.+-]{1,200}\.safetensors")


def is_table_model(folder: Path) -> bool:
    return read_json(folder / "config.json").get("model_type") in TABLE_MODELS


def read_config(folder: Path) -> DecoderConfig | None:
    """Read the decoder's shape; None for a model that the lean decoder does not support."""
    path = folder / "config.json"
    config = read_json(path)
    if not config:
        raise ModelError(f"{folder} has no config.json: name the folder of a model.")
    with damage_explained(path):
        return _read_config(folder, path, config)


def _read_config(folder: Path, path: Path, config: Json) -> DecoderConfig | None:
    if "quantization_config" in config:
        raise ModelError(
            f"{folder} has quantized safetensors, which are not supported: use the unquantized model, or a GGUF file."
        )
    scaling = _rope(path, config)
    windowed, window = _window(path, config)
    unusual = (
        config.get("model_type") not in FAMILIES
        or config.get("hidden_act", "silu") != "silu"
        or config.get("partial_rotary_factor", 1.0) != 1.0
        or scaling.get("rope_type") not in _ROPES
        or not windowed
    )
    if unusual:
        return None
    return check(path, _decoder_config(path, config, scaling, window))


def read_weights(folder: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield all stored weights by Hugging Face name without ``model.``.

    A tied head has no ``lm_head.weight``.
    """
    for file, stored, name in _stored(folder):
        with damage_explained(file.path):
            yield name, file.read(stored, np.empty(file.size(stored), np.uint8))


def stored_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the stored bytes of each weight, by Hugging Face name without ``model.``."""
    return ((name, file.size(stored)) for file, stored, name in _stored(folder))


def _stored(folder: Path) -> Iterator[tuple[TensorFile, str, str]]:
    """Yield file, stored name and Hugging Face name of each weight."""
    tied = read_json(folder / "config.json").get("tie_word_embeddings") is True
    for path in weight_files(folder):
        with damage_explained(path):
            file = TensorFile(path)
        for stored, (dtype, _) in file.specs.items():
            name = stored.removeprefix("model.")
            if name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight"):
                continue
            if dtype not in (np.uint16, np.float16, np.float32, np.float64):
                raise ModelError(
                    f"{path} has {shown(stored)} as {dtype}; it must have floating-point numbers: download it again."
                )
            yield file, stored, name


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder."""
    index = read_json(folder / "model.safetensors.index.json")
    if index:
        shards = index.get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise ModelError(
                f"{folder / 'model.safetensors.index.json'} has no weight_map from tensors to files: download it again."
            )
        names = sorted(set(shards.values()))
        outside = next((name for name in names if not _SHARD.fullmatch(name)), None)
        if outside is not None:
            raise ModelError(
                f"{folder / 'model.safetensors.index.json'} names {shown(outside)}, "
                "which is not a *.safetensors file of its folder."
            )
        paths = [folder / name for name in names]
    else:
        paths = sorted(folder.glob("*.safetensors"))
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise ModelError(f"{missing} is missing or not a regular file: download the model again.")
    if not paths:
        raise ModelError(
            f"{folder} has no *.safetensors file, and weights in other formats can contain code: "
            "convert them to safetensors."
        )
    return paths


def _decoder_config(path: Path, config: Json, scaling: dict[str, Any], window: int | None) -> DecoderConfig:
    """Return the shape, unchecked; `decoder_config_check.check` checks it."""
    most = 1 << 40

    def number(key: str, default: int | None = None) -> int:
        return whole(path, config, key, 0, most, default)

    heads, hidden = number("num_attention_heads"), number("hidden_size")
    stated = {"rope_theta": scaling.pop("rope_theta", None) or config.get("rope_theta")}
    return DecoderConfig(
        vocab_size=whole(path, config, "vocab_size", 1, MAX_TOKENS),
        hidden_size=hidden,
        intermediate_size=number("intermediate_size"),
        layers=number("num_hidden_layers"),
        heads=heads,
        kv_heads=number("num_key_value_heads", heads) or heads,
        head_dim=number("head_dim", 0) or hidden // max(heads, 1),
        rms_norm_eps=real(path, config, "rms_norm_eps", 0, 1, 1e-6),
        rope_theta=real(path, stated, "rope_theta", 1, 1e15, 10000.0),
        context=whole(path, config, "max_position_embeddings", 1, MAX_POSITIONS),
        rope_scaling=None if scaling["rope_type"] == "default" else scaling,
        sliding_window=window,
    )


def _rope(path: Path, config: Json) -> dict[str, Any]:
    """Return the rotary parameters, from either possible name, with either name of the type."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise ModelError(f"{path} has {shown(given)} for rope_scaling; it must be an object.")
    stated = dict(given)
    kind = stated.pop("type", "default")
    stated.setdefault("rope_type", kind)
    return stated


def _window(path: Path, config: Json) -> tuple[bool, int | None]:
    """Return whether all layers have the same attention, and the window (None: whole context)."""
    window = whole(path, config, "sliding_window", 0, MAX_POSITIONS, 0) or None
    kinds = set(config.get("layer_types") or ())
    if kinds:
        return len(kinds) == 1, window if kinds == {"sliding_attention"} else None
    if config.get("model_type") == "mistral":
        return True, window
    if not config.get("use_sliding_window"):
        return True, None
    return config.get("max_window_layers") in (0, None), window
