"""A decoder out of a model's folder in Hugging Face's layout: its configuration, and its weights from safetensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pellucid.engine.decoder import DecoderConfig
from pellucid.errors import ModelError
from pellucid.models.folder_tokenizer import Json, read_json

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")

_ROPES = ("default", "linear", "llama3")


def read_config(folder: Path) -> DecoderConfig | None:
    """The shape of the decoder; None for a model that is not of the lean decoder's family or has a trait that it lacks.

    Raises ModelError where config.json is missing, lacks something, or describes quantised weights.
    """
    config = read_json(folder / "config.json")
    if not config:
        raise ModelError(f"{folder} has no config.json: it is not the folder of a model.")
    if "quantization_config" in config:
        raise ModelError(f"{folder} holds quantised safetensors, which are not read: use the unquantised model, or a GGUF file.")
    scaling = _rope(config)
    windowed, window = _window(config)
    unusual = (
        config.get("model_type") not in FAMILIES
        or config.get("hidden_act", "silu") != "silu"
        or config.get("partial_rotary_factor", 1.0) != 1.0
        or scaling.get("rope_type") not in _ROPES
        or not windowed
    )
    if unusual:
        return None
    try:
        return _decoder_config(config, scaling, window)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'} does not say what a {config['model_type']} model needs ({error!r}).") from None


def read_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """All weights as they are stored, by Hugging Face's names without ``model.``; no ``lm_head.weight`` where the head is tied.

    Raises ModelError for a missing or damaged file.
    """
    tied = read_json(folder / "config.json").get("tie_word_embeddings") is True
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for stored in file.keys():  # noqa: SIM118 - not a mapping
                    name = stored.removeprefix("model.")
                    if name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight"):
                        continue
                    yield name, file.get_tensor(stored)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged or cut short ({error}): fetch it again.") from None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder. Raises ModelError where there are none, or the index names one that is missing."""
    index = read_json(folder / "model.safetensors.index.json")
    if index:
        shards = index.get("weight_map")
        if not isinstance(shards, dict):
            raise ModelError(f"{folder / 'model.safetensors.index.json'} has no weight_map: fetch it again.")
        paths = [folder / Path(str(name)).name for name in sorted(set(shards.values()))]
    else:
        paths = sorted(folder.glob("*.safetensors"))
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise ModelError(f"{missing} is missing: fetch the model again.")
    if not paths:
        raise ModelError(f"{folder} has no *.safetensors file, and weights of other formats can hold code: convert it first.")
    return paths


def _decoder_config(config: Json, scaling: dict[str, Any], window: int | None) -> DecoderConfig:
    heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    theta = scaling.pop("rope_theta", None) or config.get("rope_theta") or 10000.0
    return DecoderConfig(
        vocab_size=int(config["vocab_size"]),
        hidden_size=hidden,
        intermediate_size=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // heads),
        rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        rope_theta=float(theta),
        context=int(config["max_position_embeddings"]),
        rope_scaling=None if scaling["rope_type"] == "default" else scaling,
        sliding_window=window,
    )


def _rope(config: Json) -> dict[str, Any]:
    """The rotary parameters, which transformers has kept under two names and with two names for their type."""
    stated = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    kind = stated.pop("type", "default")
    stated.setdefault("rope_type", kind)
    return stated


def _window(config: Json) -> tuple[bool, int | None]:
    """Whether all layers attend alike, and how far back they do: None for all the way."""
    window = config.get("sliding_window")
    kinds = set(config.get("layer_types") or ())
    if kinds:
        return len(kinds) == 1, window if kinds == {"sliding_attention"} else None
    if config.get("model_type") == "mistral":
        return True, window
    if not config.get("use_sliding_window"):
        return True, None
    return config.get("max_window_layers") in (0, None), window
