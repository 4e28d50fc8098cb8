"""Weights packed for torch, and the torch decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.engine.decoders.decoder import Decoder, DecoderWeights, Layer
from pellucid.engine.decoders.decoder_config import FLOATS, MATRICES, DecoderConfig
from pellucid.engine.decoders.linear import Linear
from pellucid.engine.decoders.quantized_blocks import Blocks, Weight
from pellucid.engine.decoders.torch_model import as_array, as_tensor, dtype_name


def multiplies_bfloat16(device: str) -> bool:
    """Return whether bfloat16 is faster than float32: on CPUs, with bfloat16 instructions only."""
    return device != "cpu" or torch.cpu._is_avx512_bf16_supported()


class TorchForm:
    """Floats for torch; see :class:`pellucid.engine.weight_packing.NativeForm`."""

    def __init__(self, scheme: str) -> None:
        self._dtype = torch.bfloat16 if scheme == "bfloat16" else torch.float32
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if scheme == "bfloat16" else np.float32)

    def vector(self, weight: NDArray[Any]) -> NDArray[Any]:
        return as_array(as_tensor(weight).to(self._dtype, copy=True))

    def matrix(self, name: str, parts: Sequence[Weight]) -> dict[str, NDArray[Any]]:
        tensors = [as_tensor(part.dequantized() if isinstance(part, Blocks) else part) for part in parts]
        whole = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        return {f"{name}.weight": self.vector(as_array(whole))}


def build(config: DecoderConfig, packed: Mapping[str, NDArray[Any]], device: str) -> Decoder:
    """Return a decoder on the checked arrays, which must stay unchanged."""
    tensors = {name: as_tensor(array).to(device) for name, array in packed.items()}
    layers = tuple(_layer(tensors, f"layers.{i}.") for i in range(config.layers))
    embedding, norm = tensors["embedding.weight"], tensors["norm.weight"]
    weights = DecoderWeights(embedding, layers, norm, Linear(tensors.get("head.weight", embedding)))
    return Decoder(config, weights, f"{dtype_name(norm.dtype)} weights, torch on {device}")


def _layer(packed: Mapping[str, Tensor], prefix: str) -> Layer:
    linears: dict[str, Any] = {
        name: Linear(packed[f"{prefix}{name}.weight"], packed.get(f"{prefix}{name}.bias")) for name in MATRICES
    }
    vectors: dict[str, Any] = {name: packed.get(f"{prefix}{name}.weight") for name in FLOATS}
    scores = packed.get(f"{prefix}router.weight")
    router = None if scores is None else Linear(scores, packed.get(f"{prefix}router.bias"))
    return Layer(**linears, **vectors, router=router)
