"""Packed weights for torch: dense, int8 or int4 matrices, and the decoder made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.engine.decoders.decoder import Decoder, DecoderWeights, Layer
from pellucid.engine.decoders.decoder_config import FUSED, NORMS, DecoderConfig
from pellucid.engine.decoders.linear import (
    DenseLinear,
    Int4Linear,
    Int8Linear,
    Linear,
    quantize_int4,
    quantize_int8,
)
from pellucid.engine.decoders.quantized_blocks import Blocks, Weight
from pellucid.engine.decoders.torch_model import as_array, as_tensor, dtype_name
from pellucid.errors import ModelError


def multiplies_bfloat16(device: str) -> bool:
    """Return whether bfloat16 is faster than float32: on CPUs, with bfloat16 instructions only."""
    return device != "cpu" or torch.cpu._is_avx512_bf16_supported()


def int4_scheme() -> str:
    return f"int4-torch-{torch.backends.cpu.get_cpu_capability().lower()}"


class TorchForm:
    """The form of a torch scheme; see :class:`pellucid.engine.weight_packing.Form`."""

    def __init__(self, scheme: str) -> None:
        if scheme.startswith("int4") and scheme != int4_scheme():
            raise ModelError(f"The weights are packed as {scheme} for another processor: pack them again here.")
        self._scheme = scheme
        bfloat16 = scheme == "bfloat16" or (scheme != "float32" and multiplies_bfloat16("cpu"))
        self._dtype = torch.bfloat16 if bfloat16 else torch.float32
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if bfloat16 else np.float32)

    def vector(self, weight: NDArray[Any]) -> NDArray[Any]:
        return as_array(as_tensor(weight).to(self._dtype).clone())

    def matrix(self, name: str, parts: Sequence[Weight]) -> dict[str, NDArray[Any]]:
        tensors = [as_tensor(part.dequantized() if isinstance(part, Blocks) else part) for part in parts]
        whole = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        if self._scheme.startswith("int4") and name != "head":
            weight, scale = quantize_int4(whole, self._dtype)
        elif "int" in self._scheme:
            weight, scale = quantize_int8(whole)
        else:
            return {f"{name}.weight": self.vector(as_array(whole))}
        return {f"{name}.weight": as_array(weight), f"{name}.scale": as_array(scale.to(self._dtype))}


def build(config: DecoderConfig, packed: Mapping[str, NDArray[Any]], scheme: str, device: str) -> Decoder:
    """Return a decoder that uses and keeps the checked arrays."""
    tensors = {name: as_tensor(array).to(device) for name, array in packed.items()}
    layers = tuple(_layer(tensors, scheme, f"layers.{i}.") for i in range(config.layers))
    embedding = tensors["embedding.weight"]
    head = (
        _linear(tensors, "int8-torch" if scheme.startswith("int4") else scheme, "head")
        if "head.weight" in tensors
        else DenseLinear(embedding)
    )
    dtype = dtype_name(tensors["norm.weight"].dtype)
    weights = DecoderWeights(embedding, layers, tensors["norm.weight"], head)
    form = f"{scheme.split('-')[0]} weights, {dtype} activations" if "int" in scheme else f"{dtype} weights"
    missing = " without native kernels" if "int" in scheme else ""
    return Decoder(config, weights, f"{form}, torch on {device}{missing}")


def _layer(packed: Mapping[str, Tensor], scheme: str, prefix: str) -> Layer:
    linears: dict[str, Any] = {name: _linear(packed, scheme, prefix + name) for name in FUSED}
    norms: dict[str, Any] = {norm: packed.get(f"{prefix}{norm}.weight") for norm in NORMS}
    return Layer(**linears, **norms)


def _linear(packed: Mapping[str, Tensor], scheme: str, name: str) -> Linear:
    weight, bias = packed[f"{name}.weight"], packed.get(f"{name}.bias")
    if scheme.startswith("int4"):
        return Int4Linear(weight, packed[f"{name}.scale"], bias)
    if scheme.startswith("int8"):
        return Int8Linear(weight, packed[f"{name}.scale"], bias)
    return DenseLinear(weight, bias)
