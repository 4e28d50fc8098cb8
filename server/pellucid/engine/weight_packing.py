"""Packing of a checkpoint's tensors into the form that a model computes with.

A *scheme* names the form, which is also the form of the packed file. A model uses packed tensors in
place; on a CPU, only torch's integer kernels need aligned copies.

| scheme | weights | computed by |
|---|---|---|
| float32, bfloat16 | as named | torch |
| int8-torch | int8, one scale per row | torch, activations in bfloat16 or float32 |
| int4-torch-… | int4 in groups of 32, head int8 | torch; layout for one instruction set |
| int8-native | the file's blocks, else int8 in groups of 32 | kernels.c, int8 activations |
| int4-native | at most four bits; embedding and head as in int8-native | kernels.c |
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from pellucid.engine.check_packed_weights import Spec, check_packed
from pellucid.engine.decoders.decoder import FUSED, Decoder, DecoderConfig, DecoderWeights, Layer
from pellucid.engine.decoders.linear import (
    INT4_GROUP,
    DenseLinear,
    Int4Linear,
    Int8Linear,
    Linear,
    quantize_int4,
    quantize_int8,
)
from pellucid.engine.decoders.quantized_blocks import Blocks, round_to_blocks
from pellucid.engine.model import Model
from pellucid.engine.native import calls
from pellucid.engine.native.kernel_layout import interleave, pack_matrices
from pellucid.engine.native.native_decoder import NativeDecoder, supports
from pellucid.errors import ConfigError, ModelError

_log = logging.getLogger(__name__)

SCHEME_VERSION = 4  # Version of the layouts; a packed file of another version is packed again.

Weight: TypeAlias = Tensor | Blocks
"""Floats, or a matrix in the blocks of its file."""

_NORMS = {
    "input_norm": "input_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "post_norm": "post_attention_layernorm",
}
_OPTIONAL_NORMS = ("q_norm", "k_norm")


QUANTS = ("auto", "none", "int8", "int4")


def choose_scheme(quant: str, device: torch.device, config: DecoderConfig) -> str:
    """Return the scheme for ``quant`` on a device.

    ``auto`` is int8 on a CPU, else ``none``. ``none`` is bfloat16 if the device multiplies bfloat16
    fast, else float32.
    """
    if quant not in QUANTS:
        raise ConfigError(f"quant is {quant!r}, but must be auto, none, int8 or int4.")
    if quant == "none" or (quant == "auto" and device.type != "cpu"):
        return "bfloat16" if multiplies_bfloat16(device) else "float32"
    if device.type != "cpu":
        raise ConfigError(f"quant {quant} runs only on a CPU: use quant none on {device.type}.")
    native = calls.available() and supports(config)
    if slow := _why_slow(config):
        _log.warning(slow)
    if quant == "int4":
        _check_int4(config)
        return "int4-native" if native else _int4_torch()
    return "int8-native" if native else "int8-torch"


def _why_slow(config: DecoderConfig) -> str:
    """Return why a model or its start is slow on this CPU, with the remedy; else ""."""
    if not calls.available():
        return f"Without native kernels, the model runs several times slower. {calls.reason()}"
    if not supports(config):
        return (
            "The native kernels do not support this model's shape, "
            "so it runs several times slower than others: choose another model."
        )
    return calls.warning()


def _int4_torch() -> str:
    return f"int4-torch-{torch.backends.cpu.get_cpu_capability().lower()}"


def pack(config: DecoderConfig, tensors: Iterable[tuple[str, Weight]], scheme: str) -> dict[str, Tensor]:
    """Pack a checkpoint: names as in transformers without "model.", floats or blocks in any order.

    A matrix is packed when complete, so a generator keeps memory low. Without ``lm_head.weight``
    the head is the embedding.
    """
    packer = _Packer(config, scheme)
    for name, tensor in tensors:
        packer.add(name, tensor)
    return packer.finish()


def check(config: DecoderConfig, specs: Mapping[str, Spec], scheme: str) -> None:
    check_packed(config, specs, scheme, _activation_dtype(scheme))


def build(config: DecoderConfig, packed: Mapping[str, Tensor], scheme: str, device: torch.device) -> Model:
    """Return a model that uses and keeps the packed tensors."""
    native = scheme.endswith("-native")
    if native and not calls.available():
        raise ModelError(f"The weights are packed for the native kernels, which are not available: {calls.reason()}")
    if scheme.startswith("int4-torch") and scheme != _int4_torch():
        raise ModelError(f"The weights are packed as {scheme} for another processor: pack them again here.")
    check(config, {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in packed.items()}, scheme)
    if native:
        return NativeDecoder(config, packed)
    packed = {name: tensor.to(device) for name, tensor in packed.items()}
    layers = tuple(_layer(packed, scheme, f"layers.{i}.") for i in range(config.layers))
    embedding = packed["embedding.weight"]
    head = (
        _linear(packed, "int8-torch" if scheme.startswith("int4") else scheme, "head")
        if "head.weight" in packed
        else DenseLinear(embedding)
    )
    dtype = str(packed["norm.weight"].dtype).removeprefix("torch.")
    weights = DecoderWeights(embedding, layers, packed["norm.weight"], head)
    form = f"{scheme.split('-')[0]} weights, {dtype} activations" if "int" in scheme else f"{dtype} weights"
    missing = " without native kernels" if "int" in scheme else ""
    return Decoder(config, weights, f"{form}, torch on {device}{missing}")


class _Packer:
    def __init__(self, config: DecoderConfig, scheme: str) -> None:
        self.config = config
        self.scheme = scheme
        self.dtype = _activation_dtype(scheme)
        self.packed: dict[str, Tensor] = {}
        self.native = scheme.endswith("-native")
        self.blocks: dict[str, Blocks] = {}  # Parts of incomplete matrices.
        self.parts: dict[str, Tensor] = {}  # Parts of incomplete matrices, and all biases.
        self.seen: set[str] = set()
        self.shapes = checkpoint_shapes(config)
        self.targets = {part: (prefix, name) for prefix, name, parts in self._matrices() for part in parts}

    def _matrices(self) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        """Yield (prefix, packed name, checkpoint names of the parts) of all layer matrices."""
        for i in range(self.config.layers):
            for name in FUSED:
                yield f"layers.{i}.", name, self._part_names(f"layers.{i}.", name)

    def _part_names(self, prefix: str, matrix: str) -> tuple[str, ...]:
        return tuple(f"{prefix}{part}.weight" for part in FUSED[matrix])

    def add(self, name: str, weight: Weight) -> None:
        if name not in self.shapes:
            raise ModelError(f"The model has a tensor {name!r} that the lean decoder does not know.")
        if tuple(weight.shape) != self.shapes[name]:
            raise ModelError(
                f"Tensor {name!r} has shape {tuple(weight.shape)}, "
                f"but the model's configuration says {self.shapes[name]}."
            )
        self.seen.add(name)
        if self.native and len(weight.shape) == 2:
            self._add_native(name, weight)
            return
        tensor = weight.dequantized() if isinstance(weight, Blocks) else weight
        if name in ("embed_tokens.weight", "lm_head.weight"):
            self._add_vocabulary(name, tensor)
        elif name in self.targets:
            prefix, target = self.targets[name]
            self.parts[name] = tensor
            names = self._part_names(prefix, target)
            if all(part in self.parts for part in names):
                self._encode(prefix + target, [self.parts.pop(part) for part in names])
        elif name.endswith(".bias"):
            self.parts[name] = tensor
        else:
            self.packed[_norm_name(name)] = tensor.to(self.dtype).clone()

    def _add_native(self, name: str, weight: Weight) -> None:
        vocabulary = {"embed_tokens.weight": "embedding", "lm_head.weight": "head"}
        bits = 4 if self.scheme == "int4-native" and name not in vocabulary else 8
        if isinstance(weight, Tensor) or weight.bits > bits:
            weight = round_to_blocks(weight if isinstance(weight, Tensor) else weight.dequantized(), bits)
        self.blocks[name] = weight
        prefix, matrix = ("", vocabulary[name]) if name in vocabulary else self.targets[name]
        names = (name,) if name in vocabulary else self._part_names(prefix, matrix)
        if all(part in self.blocks for part in names):
            packed = pack_matrices([self.blocks.pop(part) for part in names], interleaved=matrix == "gate_up")
            self.packed |= {f"{prefix}{matrix}.{field}": tensor for field, tensor in packed.items()}

    def _add_vocabulary(self, name: str, tensor: Tensor) -> None:
        """Add the embedding or the head. Until a head follows, the embedding is also the head."""
        if name == "lm_head.weight":
            for part in ("head.weight", "head.scale"):
                self.packed.pop(part, None)
            self._encode("head", [tensor])
        else:
            self.packed["embedding.weight"] = tensor.to(self.dtype).clone()
            if "int" in self.scheme and "lm_head.weight" not in self.seen:
                self._encode("head", [tensor])

    def _encode(self, name: str, parts: list[Tensor]) -> None:
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        if self.scheme.startswith("int4") and name != "head":
            self.packed[f"{name}.weight"], self.packed[f"{name}.scale"] = quantize_int4(whole, self.dtype)
        elif "int" in self.scheme:
            self.packed[f"{name}.weight"], scale = quantize_int8(whole)
            self.packed[f"{name}.scale"] = scale.to(self.dtype)
        else:
            self.packed[f"{name}.weight"] = whole.to(self.dtype).clone()

    def finish(self) -> dict[str, Tensor]:
        """Raise ModelError if tensors are missing."""
        optional = (".bias", *(f"{_NORMS[norm]}.weight" for norm in _OPTIONAL_NORMS))
        missing = [
            name
            for name in self.shapes
            if not (name in self.seen or name == "lm_head.weight" or name.endswith(optional))
        ]
        if missing:
            raise ModelError(f"The model lacks {len(missing)} tensors, the first of them {missing[0]!r}.")
        for prefix, name, parts in self._matrices():
            biases = [part.removesuffix("weight") + "bias" for part in parts]
            if any(bias in self.parts for bias in biases):
                rows = [self.parts.get(bias, torch.zeros(self.shapes[bias])).to(self.dtype) for bias in biases]
                interleaved = self.native and name == "gate_up"
                self.packed[f"{prefix}{name}.bias"] = interleave(*rows) if interleaved else torch.cat(rows)
        return self.packed


def checkpoint_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    c = config
    matrices = {name: (rows, c.columns[name]) for name, rows in c.rows.items()}
    norms = {"input_norm": c.hidden_size, "post_norm": c.hidden_size, "q_norm": c.head_dim, "k_norm": c.head_dim}
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (c.vocab_size, c.hidden_size),
        "norm.weight": (c.hidden_size,),
    }
    for i in range(c.layers):
        for name, shape in matrices.items():
            shapes[f"layers.{i}.{name}.weight"] = shape
            shapes[f"layers.{i}.{name}.bias"] = shape[:1]
        for name, size in norms.items():
            shapes[f"layers.{i}.{_NORMS[name]}.weight"] = (size,)
    shapes["lm_head.weight"] = (c.vocab_size, c.hidden_size)
    return shapes


def _norm_name(name: str) -> str:
    for ours, theirs in _NORMS.items():
        if name.endswith(f".{theirs}.weight"):
            return name.removesuffix(f"{theirs}.weight") + f"{ours}.weight"
    return name


def _layer(packed: Mapping[str, Tensor], scheme: str, prefix: str) -> Layer:
    return Layer(
        input_norm=packed[f"{prefix}input_norm.weight"],
        qkv=_linear(packed, scheme, f"{prefix}qkv"),
        q_norm=packed.get(f"{prefix}q_norm.weight"),
        k_norm=packed.get(f"{prefix}k_norm.weight"),
        o=_linear(packed, scheme, f"{prefix}o"),
        post_norm=packed[f"{prefix}post_norm.weight"],
        gate_up=_linear(packed, scheme, f"{prefix}gate_up"),
        down=_linear(packed, scheme, f"{prefix}down"),
    )


def _linear(packed: Mapping[str, Tensor], scheme: str, name: str) -> Linear:
    weight, bias = packed[f"{name}.weight"], packed.get(f"{name}.bias")
    if scheme.startswith("int4"):
        return Int4Linear(weight, packed[f"{name}.scale"], bias)
    if scheme.startswith("int8"):
        return Int8Linear(weight, packed[f"{name}.scale"], bias)
    return DenseLinear(weight, bias)


def _activation_dtype(scheme: str) -> torch.dtype:
    if scheme == "float32" or scheme.endswith("-native"):
        return torch.float32
    if scheme == "bfloat16" or multiplies_bfloat16(torch.device("cpu")):
        return torch.bfloat16
    return torch.float32


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is faster than float32: on CPUs, with bfloat16 instructions only."""
    return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()


def _check_int4(config: DecoderConfig) -> None:
    """Raise ConfigError unless torch's int4 kernel supports the shape.

    The kernel needs whole groups of columns, and a multiple of 16 rows.
    """
    for name, shape in checkpoint_shapes(config).items():
        if name.startswith("layers.0.") and len(shape) == 2 and (shape[1] % INT4_GROUP or shape[0] % 16):
            raise ConfigError(
                f"quant int4 does not fit this model ({name} is {shape[0]} x {shape[1]}): use quant int8."
            )
