"""GLM-4 of 2025: norms of inputs and outputs, and rotated pairs of adjacent dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.quantized_blocks import Blocks
from pellucid.errors import NotSupportedError
from pellucid.models.families.family import Family, W, split_fused
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json


class Glm4(Family):
    def fields(self, path: Path, config: Json) -> Json:
        return {"partial_rotary_factor": 0.5, **config}

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        return _normed(shape)

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        return _normed(shape)

    def parts(self, name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
        """Yield rotated rows as halves of a head: files have pairs of rows, also a GGUF file."""
        for part, value in split_fused(name, weight, shape):
            if ".self_attn.q_proj." in part or ".self_attn.k_proj." in part:
                cut = partial(_halves, head_dim=shape.head_dim, rotated=shape.rotary_width)
                rows: Any = value
                value = cast("W", rows.of_rows(cut) if isinstance(rows, Blocks) else cut(rows))
            yield part, value

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        raise NotSupportedError("GLM-4 models cannot be trained or written to a folder: use a model of another family.")


def _normed(shape: DecoderConfig) -> DecoderConfig:
    return replace(shape, norms=("input_norm", "post_norm", "attention_norm", "mlp_norm"))


def _halves(rows: Any, head_dim: int, rotated: int) -> Any:
    order = np.concatenate((np.arange(0, rotated, 2), np.arange(1, rotated, 2), np.arange(rotated, head_dim)))
    return rows.reshape(-1, head_dim, *rows.shape[1:])[:, order].reshape(rows.shape)


GLM4 = Glm4(
    ("glm4",),
    "glm4",
    names=(
        ("post_self_attn_layernorm", "self_attn.output_norm"),
        ("post_mlp_layernorm", "mlp.output_norm"),
    ),
    ropes=frozenset({"default"}),
    rotates_parts=True,
)
