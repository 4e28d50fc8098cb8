"""A decoder in a Hugging Face folder: configuration, and weights in safetensors."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.quantized_blocks import floats
from pellucid.errors import ModelError, NotSupportedError
from pellucid.models.families.decoder_config_check import MAX_TOKENS, check
from pellucid.models.families.experts import gathered
from pellucid.models.families.family import MAX_POSITIONS, Family
from pellucid.models.families.registry import BY_MODEL_TYPE
from pellucid.models.formats.safetensors_folder import weight_files
from pellucid.models.tensor_file import TensorFile, UnknownDtypeError
from pellucid.models.untrusted_files import Json, damage_explained, read_json, real, shown, whole

_WITH_IMAGES = {
    "gemma3": "gemma3_text",
    "idefics3": "llama",
    "mistral3": "mistral",
    "qwen2_5_vl": "qwen2",
    "qwen2_vl": "qwen2",
    "qwen3_5": "qwen3_5_text",
    "smolvlm": "llama",
}
"""Types of models of images and texts, each with the usual type of the text model."""

_WITH_QWEN2 = ("qwen2_5_vl", "qwen2_vl")
"""Types with a Qwen2 of a name of its own, whose fields are at the top in older files."""

_IMAGE_PARTS = ("visual.", "vision_tower.", "vision_model.", "multi_modal_projector.", "connector.")

TABLE_MODELS = ("pellucid_ngram", "pellucid_logistic")


def is_table_model(folder: Path) -> bool:
    return read_json(folder / "config.json").get("model_type") in TABLE_MODELS


def read_config(folder: Path) -> DecoderConfig | None:
    """Read the decoder's shape; None for a model that the lean decoder does not support."""
    path = folder / "config.json"
    config = read_json(path)
    if not config:
        raise ModelError(f"{folder} has no config.json: name the folder of a model.")
    with damage_explained(path):
        return shape_by(path, config)


def shape_by(path: Path, config: Json) -> DecoderConfig | None:
    """Return the shape by the content of config.json; see ``read_config``."""
    config = _text_config(path, config)
    stated = config.get("quantization_config")
    if stated is not None:
        method = stated.get("quant_method") if isinstance(stated, dict) else None
        raise ModelError(
            f"{path.parent} has safetensors quantized by {shown(method or 'an unnamed method')}, "
            "which are not supported: use the unquantized model, or a GGUF file."
        )
    family = BY_MODEL_TYPE.get(config.get("model_type", ""))
    config = config if family is None else family.fields(path, config)
    scaling = _rope(path, config)
    if family is None or config.get(family.gate_key, family.gates[0]) not in family.gates:
        return None
    if scaling["rope_type"] not in family.ropes:
        return None
    llama = _decoder_config(path, config, scaling, family.usual_theta)
    if llama.rotated_dims is not None and not family.rotates_parts:
        return None
    shape = family.from_json(path, config, llama)
    return None if shape is None else check(path, shape)


def config_json(family: Family, shape: DecoderConfig, names: Collection[str]) -> dict[str, Any]:
    """Return config.json of a shape, for weights with these names.

    Raises NotSupportedError for experts, or if the family's config.json cannot state the shape.
    """
    if shape.experts is not None:
        raise NotSupportedError("A model with experts cannot be trained or written to a folder: use another model.")
    fields = family.to_json(shape, names)
    found = shape_by(Path("config.json"), fields)
    if found is None or _comparable(found) != _comparable(shape):
        raise NotSupportedError(
            "This model cannot be trained or written to a folder, "
            f"because config.json of {fields['model_type']} models cannot state the model's shape."
        )
    return fields


def _comparable(shape: DecoderConfig) -> DecoderConfig:
    """Return the shape with defaults filled in and scales rounded."""
    return replace(
        shape,
        kinds=shape.layer_kinds,
        attention_scale=round(shape.score_scale, 12),
        logit_scale=round(shape.logit_scale, 12),
    )


def family_of(folder: Path) -> Family:
    """Return the family of a model of which ``read_config`` has returned the shape."""
    path = folder / "config.json"
    return BY_MODEL_TYPE[_text_config(path, read_json(path))["model_type"]]


def read_weights(folder: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield all weights by Llama's name without ``model.``.

    A tied head has no ``lm_head.weight``.
    """
    shape = read_config(folder)
    assert shape is not None, "models of other shapes are read by the transformers library"
    with damage_explained(folder):
        yield from gathered(_parts(folder, shape), shape)


def _parts(folder: Path, shape: DecoderConfig) -> Iterator[tuple[str, NDArray[Any]]]:
    family = family_of(folder)
    for file, stored, name in _stored(folder):
        with damage_explained(file.path):
            weight = file.read(stored, np.empty(file.size(stored), np.uint8))
            for part, value in family.parts(name, weight, shape):
                shift = family.shift(part)
                yield part, floats(value) + np.float32(shift) if shift else value


def stored_sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the stored bytes of each weight, by Llama's name without ``model.``."""
    return ((name, file.size(stored)) for file, stored, name in _stored(folder))


def _text_config(path: Path, config: Json) -> Json:
    """Return config.json, or for a model of images and texts the fields of the text model."""
    text_type = _WITH_IMAGES.get(str(config.get("model_type")))
    if text_type is None:
        return config
    with_qwen2 = config["model_type"] in _WITH_QWEN2
    text = config.get("text_config", config if with_qwen2 else None)
    if not isinstance(text, dict):
        raise ModelError(f"{path} has {shown(text)} for text_config; it must be an object.")
    kept = {key: config[key] for key in ("tie_word_embeddings", "quantization_config") if key in config}
    return {"model_type": text_type, **text, **kept} | ({"model_type": text_type} if with_qwen2 else {})


def _stored(folder: Path) -> Iterator[tuple[TensorFile, str, str]]:
    """Yield file, stored name and our name of each weight."""
    path = folder / "config.json"
    config = _text_config(path, read_json(path))
    family = BY_MODEL_TYPE.get(config.get("model_type", ""), Family((), ""))
    tied = family.fields(path, config).get("tie_word_embeddings") is True
    for weights in weight_files(folder):
        with damage_explained(weights):
            try:
                file = TensorFile(weights)
            except UnknownDtypeError as error:
                raise ModelError(
                    f"{weights} cannot be used, because {error}: use the unquantized model, or a GGUF file."
                ) from None
        for stored, (dtype, _) in file.specs.items():
            name = stored.removeprefix("model.").removeprefix("language_model.").removeprefix("model.")
            name = name.removeprefix("text_model.")
            if name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight"):
                continue
            if name.startswith((*_IMAGE_PARTS, *family.unused)):
                continue
            if dtype not in (np.uint16, np.float16, np.float32, np.float64):
                raise ModelError(
                    f"{weights} has {shown(stored)} as {dtype}; it must have floating-point numbers: download it again."
                )
            yield file, stored, family.our_name(name)


def _decoder_config(path: Path, config: Json, scaling: dict[str, Any], usual_theta: float) -> DecoderConfig:
    """Return a Llama's shape, unchecked; `decoder_config_check.check` checks it."""

    def number(key: str, default: int | None = None) -> int:
        return whole(path, config, key, 0, MAX_POSITIONS, default)

    heads, hidden = number("num_attention_heads"), number("hidden_size")
    head_dim = number("head_dim", 0) or hidden // max(heads, 1)
    stated = {"partial_rotary_factor": scaling.pop("partial_rotary_factor", config.get("partial_rotary_factor"))}
    part = real(path, stated, "partial_rotary_factor", 0, 1, 1.0)
    stated = {"rope_theta": scaling.pop("rope_theta", None) or config.get("rope_theta")}
    sections = scaling.pop("mrope_section", None)
    interleaved = scaling.pop("mrope_interleaved", False) is True
    angles = int(head_dim * part) // 2
    return DecoderConfig(
        vocab_size=whole(path, config, "vocab_size", 1, MAX_TOKENS),
        hidden_size=hidden,
        intermediate_size=number("intermediate_size"),
        layers=number("num_hidden_layers"),
        heads=heads,
        kv_heads=number("num_key_value_heads", heads) or heads,
        head_dim=head_dim,
        rotated_dims=None if part == 1 else int(head_dim * part),
        rms_norm_eps=real(path, config, "rms_norm_eps", 0, 1, 1e-6),
        rope_theta=real(path, stated, "rope_theta", 1, 1e15, usual_theta),
        context=whole(path, config, "max_position_embeddings", 1, MAX_POSITIONS),
        rope_scaling=None if scaling["rope_type"] == "default" else scaling,
        rope_axes=() if sections is None else _axes(path, sections, angles, interleaved=interleaved),
    )


def _axes(path: Path, sections: object, angles: int, *, interleaved: bool) -> tuple[int, ...]:
    """Return the axis of each angle, by the numbers of angles of time, height and width.

    Sections follow each other, or are interleaved: height and width then have every third angle,
    and time all the rest (Qwen3-VL, arXiv 2511.21631).
    """
    match sections:
        case [int(), int(height), int(width)] if min(sections) >= 0 and sum(sections) == angles:
            if not interleaved:
                return tuple(axis for axis, count in enumerate(sections) for _ in range(count))
            counts = (0, height, width)
            return tuple(i % 3 if i // 3 < counts[i % 3] else 0 for i in range(angles))
    raise ModelError(f"{path} has {shown(sections)} for mrope_section; it must be three numbers with the sum {angles}.")


def _rope(path: Path, config: Json) -> dict[str, Any]:
    """Return the rotary parameters, from either possible name, with either name of the type.

    Parameters by type of layer are those of layers that see the whole text.
    """
    stated: dict[str, Any] = {}
    for key in ("rope_parameters", "rope_scaling"):  # The latter may have been added to a file with the former.
        given = config.get(key) or {}
        if isinstance(given, dict) and isinstance(given.get("full_attention"), dict):
            given = given["full_attention"]
        if not isinstance(given, dict):
            raise ModelError(f"{path} has {shown(given)} for {key}; it must be an object.")
        stated |= given
        if "type" in given and "rope_type" not in given:
            stated["rope_type"] = given["type"]
    stated.pop("type", None)
    stated.setdefault("rope_type", "default")
    if stated["rope_type"] == "mrope":
        stated["rope_type"] = "default"
    if stated["rope_type"] == "yarn":
        stated.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
    return stated
