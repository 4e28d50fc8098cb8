"""LFM2: short convolutions in most layers, and attention with norms of queries and keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.engine.decoders.decoder_config import DecoderConfig, LayerKind, ShortConvolution
from pellucid.errors import ModelError, NotSupportedError
from pellucid.models.families.family import MAX_LAYERS, MAX_POSITIONS, MAX_TAPS, Family, W, stated_types
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json, real, shown, whole

_KEY_HEADS = "lfm2.attention.head_count_kv"


class ShortConvolutions(Family):
    def fields(self, path: Path, config: Json) -> Json:
        """Return a Llama's fields. By default, the MLP has two thirds of the stated width."""
        whole(path, config, "num_hidden_layers", 1, MAX_LAYERS)  # Before lists of layers are made.
        width = whole(path, config, "intermediate_size", 1, MAX_POSITIONS, 12288)
        width = whole(path, config, "block_ff_dim", 1, MAX_POSITIONS, width)
        if config.get("block_auto_adjust_ff_dim", True):
            width = int(2 * width / 3)
            if config.get("block_ffn_dim_multiplier", 1.0) is not None:
                width = int(width * real(path, config, "block_ffn_dim_multiplier", 0, 1000, 1.0))
                multiple = whole(path, config, "block_multiple_of", 1, 1 << 20, 256)
                width = -(-width // multiple) * multiple
        return {
            **config,
            "intermediate_size": width,
            "rms_norm_eps": real(path, config, "norm_eps", 0, 1, 1e-5),
            "tie_word_embeddings": config.get("tie_embedding", config.get("tie_word_embeddings", True)),
        }

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        types = stated_types(path, config, shape)
        if not types:
            attending = config.get("full_attn_idxs")
            attending = list(range(shape.layers)) if attending is None else attending
            if not isinstance(attending, list):
                raise ModelError(f"{path} has {shown(attending)} for full_attn_idxs; it must be a list of layers.")
            types = ["full_attention" if index in attending else "conv" for index in range(shape.layers)]
        if not set(types) <= {"full_attention", "conv"} or config.get("conv_bias"):
            return None
        taps = whole(path, config, "conv_L_cache", 2, MAX_TAPS, 3)
        return _mixing(shape, [type == "conv" for type in types], taps)

    def kv_heads(self, file: GGUF, heads: int) -> int:
        """Return the key heads of the layers with attention; convolutions have 0."""
        counts = set(self._layer_heads(file)) - {0}
        if len(counts) != 1:
            stated = " or ".join(map(str, sorted(counts)[:3])) or "no"
            raise ModelError(
                f"{file.path} is damaged: its layers have {stated} key heads; "
                "all layers with attention must have the same number."
            )
        return counts.pop()

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        if not file.get("lfm2.attention.causal", True):
            raise ModelError(f"{file.path} is a model that makes embeddings, not text: use another model.")
        counts = self._layer_heads(file)
        counts = counts * shape.layers if len(counts) == 1 else counts
        if len(counts) != shape.layers:
            raise ModelError(f"{file.path} has {len(counts)} numbers of key heads; it must have {shape.layers}.")
        taps = whole(file.path, file.metadata, "lfm2.shortconv.l_cache", 2, MAX_TAPS)
        window = whole(file.path, file.metadata, "lfm2.attention.sliding_window", 0, MAX_POSITIONS, 0) or None
        return _mixing(shape, [count == 0 for count in counts], taps, window)

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        raise NotSupportedError("LFM2 models cannot be trained or written to a folder: use a model of another family.")

    def parts(self, name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
        stored: Any = weight
        if name.endswith("mixing.convolution.weight") and len(weight.shape) == 3:  # (channels, 1, taps)
            yield name, stored.reshape(weight.shape[0], -1)
        else:
            yield name, weight

    @staticmethod
    def _layer_heads(file: GGUF) -> list[int]:
        """Return the number of key heads of each layer, or a number for all layers."""
        if isinstance(file.metadata.get(_KEY_HEADS), int):
            return [file.require(_KEY_HEADS, int)]
        return file.list_of(_KEY_HEADS, int)


def _mixing(shape: DecoderConfig, convolves: list[bool], taps: int, window: int | None = None) -> DecoderConfig:
    kinds = tuple(LayerKind(recurrent=True) if each else LayerKind(window) for each in convolves)
    return replace(shape, kinds=kinds, recurrence=ShortConvolution(taps))


_NAMES = (
    ("conv.in_proj", "mixing.in_proj"),
    ("conv.conv", "mixing.convolution"),
    ("conv.out_proj", "mixing.out_proj"),
    ("self_attn.out_proj", "self_attn.o_proj"),
    ("self_attn.q_layernorm", "self_attn.q_norm"),
    ("self_attn.k_layernorm", "self_attn.k_norm"),
    ("operator_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("feed_forward.w1", "mlp.gate_proj"),
    ("feed_forward.w3", "mlp.up_proj"),
    ("feed_forward.w2", "mlp.down_proj"),
    ("embedding_norm", "norm"),
)

LFM2 = ShortConvolutions(("lfm2",), "lfm2", names=_NAMES, ropes=frozenset({"default"}), usual_theta=1e6)
