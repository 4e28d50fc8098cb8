"""A family: how files state the shape that the lean decoder computes, and name tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from pellucid.engine.decoders.decoder_config import DecoderConfig, LayerKind
from pellucid.engine.decoders.quantized_blocks import Blocks
from pellucid.errors import ModelError
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json, real, shown, whole

MAX_POSITIONS = 1 << 40
"""Maximum number of positions; some configurations use a huge number for "no limit"."""

MAX_LAYERS = 1 << 10

MAX_TAPS = 64
"""Maximum inputs of a convolution: sixteen times the largest published number."""


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


W = TypeVar("W", bound=_Shaped)
"""A weight: an array, a tensor or blocks."""


@dataclass(frozen=True, slots=True)
class Family:
    """A family whose files differ from Llama's in no way; subclasses say what differs.

    ``model_types`` are transformers' names, ``architecture`` is GGUF's name or "". With
    ``adjacent_pairs``, a GGUF file has the two dimensions of a rotated pair in adjacent rows.
    ``names`` are a folder's names of modules that a Llama names otherwise or lacks, and ours.
    ``ropes`` are the supported kinds of rotation. Only a family that ``rotates_parts`` of heads
    obeys ``partial_rotary_factor``, as in the transformers library. ``rotary_tensors`` of a GGUF
    file are read by ``from_gguf``, or unused. ``gates`` are the names under ``gate_key`` of the
    MLP's activation, the usual name first. With ``norms_less_one``, a folder has the weights of
    norms less one. ``normalizes_experts`` says whether the weights of a token's experts add up to
    one in a GGUF file, which does not state it. Tensors of a folder whose names begin with a text
    of ``unused`` are skipped.
    """

    model_types: tuple[str, ...]
    architecture: str
    adjacent_pairs: bool = False
    names: tuple[tuple[str, str], ...] = ()
    ropes: frozenset[str] = frozenset({"default", "linear", "llama3", "yarn"})
    rotates_parts: bool = False
    rotary_tensors: frozenset[str] = frozenset()
    usual_theta: float = 10000.0
    gate_key: str = "hidden_act"
    gates: tuple[str, ...] = ("silu",)
    norms_less_one: bool = False
    normalizes_experts: bool = True
    unused: tuple[str, ...] = ()

    def fields(self, path: Path, config: Json) -> Json:
        """Return config.json with the fields of the text model under a Llama's names.

        Raises ModelError for bad values.
        """
        return config

    def kv_heads(self, file: GGUF, heads: int) -> int:
        """Return the number of key heads of a GGUF file."""
        return file.get(f"{self.architecture}.attention.head_count_kv", heads)

    def skips(self, file: GGUF, stored: str) -> bool:
        """Return whether a tensor of a GGUF file is no weight of the decoder."""
        return stored in self.rotary_tensors

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        """Return a Llama's shape with the family's own fields of config.json.

        Return None if the lean decoder cannot compute the shape. Raises ModelError for bad values.
        """
        return shape

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        """Return a Llama's shape with the family's own metadata: here a window of all layers."""
        return windowed(shape, file.get(f"{self.architecture}.attention.sliding_window", 0) or None)

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        """Return ``model_type`` and the family's own fields of config.json."""
        return {"model_type": self.model_types[0]}

    def to_json(self, shape: DecoderConfig, names: Collection[str]) -> dict[str, Any]:
        """Return config.json for weights with these names: Llama's names without ``model.``."""
        return {
            "vocab_size": shape.vocab_size,
            "hidden_size": shape.hidden_size,
            "intermediate_size": shape.intermediate_size,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            self.gate_key: self.gates[0],
            "attention_bias": "layers.0.self_attn.q_proj.bias" in names,
            "rms_norm_eps": shape.rms_norm_eps,
            "rope_theta": shape.rope_theta,
            "rope_scaling": None if shape.rope_scaling is None else dict(shape.rope_scaling),
            "max_position_embeddings": shape.context,
            "tie_word_embeddings": "lm_head.weight" not in names,
            **self.own_fields(shape),
        }

    def parts(self, name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
        """Yield the parts of a fused matrix by Llama's names, or the weight itself."""
        yield name, weight

    def shift(self, name: str) -> float:
        """Return by how much our weight with our name is larger than a folder's weight."""
        return 1.0 if self.norms_less_one and name.endswith("norm.weight") else 0.0

    def our_name(self, stored: str) -> str:
        """Return our name of a folder's weight: Llama's name, if a Llama has the weight."""
        return next((stored.replace(theirs, ours) for theirs, ours in self.names if theirs in stored), stored)

    def stored_name(self, ours: str) -> str:
        """Return the reverse of ``our_name``."""
        return next((ours.replace(own, theirs) for theirs, own in self.names if own in ours), ours)


def rows_of(weight: W, rows: slice) -> W:
    """Return some rows of a fused matrix."""
    cut = itemgetter(rows)
    all_rows: Any = weight
    return cast("W", all_rows.of_rows(cut) if isinstance(all_rows, Blocks) else cut(all_rows))


def split_fused(name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
    """Yield the parts of fused queries, keys and values, or of a fused gate and ups."""
    prefix, _, module = name.removesuffix(".weight").rpartition(".")
    if module == "qkv_proj":
        names = [f"{part}_proj" for part in "qkv"]
    elif module == "gate_up_proj" or (module == "up_proj" and weight.shape[0] == 2 * shape.intermediate_size):
        names = ["gate_proj", "up_proj"]  # A GGUF file has both as ``ffn_up``.
    else:
        yield name, weight
        return
    begin, shapes = 0, shape.matrix_shapes(shape.layer_kinds[0])
    for part in names:
        end = begin + shapes[f"{prefix.rpartition('.')[2]}.{part}"][0]
        yield f"{prefix}.{part}.weight", rows_of(weight, slice(begin, end))
        begin = end


def windowed(shape: DecoderConfig, window: int | None) -> DecoderConfig:
    """Return the shape with the same window in all layers."""
    return shape if window is None else replace(shape, kinds=(LayerKind(window),) * shape.layers)


def every_nth_whole(shape: DecoderConfig, interval: int, window: int | None) -> tuple[LayerKind, ...]:
    """Return the kinds of layers of which every ``interval``-th layer sees the whole text."""
    return tuple(LayerKind(None if (index + 1) % interval == 0 else window) for index in range(shape.layers))


def unscaled(kinds: Iterable[LayerKind], theta: float) -> tuple[LayerKind, ...]:
    """Return the kinds of layers; layers with a window rotate by ``theta``, unscaled."""
    return tuple(kind if kind.window is None else replace(kind, rope_theta=theta) for kind in kinds)


def sliding_theta(path: Path, config: Json, usual: float) -> float | None:
    """Return the base of the rotation of layers with a window; None for scaled positions."""
    given = config.get("rope_parameters")
    sliding = given.get("sliding_attention") if isinstance(given, dict) else None
    stated = {"rope_type": "default", "rope_theta": usual, **(sliding or {})}
    return real(path, stated, "rope_theta", 1, 1e15) if stated["rope_type"] == "default" else None


def ropes_by_type(shape: DecoderConfig, usual: float) -> dict[str, Any]:
    """Return the fields of config.json with the base that ``sliding_theta`` reads, or ``usual``."""
    thetas = (kind.rope_theta for kind in shape.layer_kinds if kind.window is not None)
    rope = {"rope_type": "default", **(shape.rope_scaling or {}), "rope_theta": shape.rope_theta}
    sliding = {"rope_type": "default", "rope_theta": next(thetas, usual)}
    return {
        "rope_scaling": None,
        "rope_parameters": {"full_attention": rope, "sliding_attention": sliding},
    }


def window_fields(shape: DecoderConfig) -> dict[str, Any]:
    """Return the fields of config.json from which ``windows_by_type`` reads the windows."""
    windows = [kind.window for kind in shape.layer_kinds]
    return {
        "use_sliding_window": any(windows),
        "sliding_window": max(filter(None, windows), default=None),
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
    }


def window_of(path: Path, config: Json) -> int | None:
    return whole(path, config, "sliding_window", 0, MAX_POSITIONS, 0) or None


def stated_types(path: Path, config: Json, shape: DecoderConfig) -> list[str]:
    """Return ``layer_types``, or an empty list. Raise ModelError for another number of layers."""
    types = config.get("layer_types")
    if types is None:
        return []
    if not isinstance(types, list) or len(types) not in (0, shape.layers):
        raise ModelError(f"{path} has {shown(types)} for layer_types; it must be a list of {shape.layers} names.")
    return types


def windows_by_type(path: Path, config: Json, shape: DecoderConfig) -> tuple[LayerKind, ...] | None:
    """Return the layers' windows by ``layer_types``; None if a layer has no attention."""
    types = stated_types(path, config, shape)
    if not set(types) <= {"full_attention", "sliding_attention"}:
        return None
    window = window_of(path, config)
    return tuple(LayerKind(window if type == "sliding_attention" else None) for type in types)
