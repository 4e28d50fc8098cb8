"""Packing of a checkpoint's tensors into the form that a model computes with.

A *scheme* names the form, which is also the form of the packed file. A model uses packed tensors in
place.

| scheme | weights | computed by |
|---|---|---|
| float32, bfloat16 | as named | torch |
| half-native | the file's blocks, else floats of 16 bits | kernels.c, activations int8 or float32 |
| int8-native | the file's blocks, else int8 in groups of 32 | kernels.c, int8 activations |
| int4-native | at most four bits; embedding and head as in int8-native | kernels.c |
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.check_packed_weights import OPTIONAL, Spec, check_packed
from pellucid.engine.decoders.decoder_config import FLOATS, DecoderConfig
from pellucid.engine.decoders.quantized_blocks import Blocks, Weight, clipped_halves, floats, round_to_blocks
from pellucid.engine.model import Model
from pellucid.engine.native import calls
from pellucid.engine.native.kernel_layout import HALF_DTYPES, Array, interleave, pack_matrices
from pellucid.engine.native.native_decoder import NativeDecoder, supports
from pellucid.errors import ConfigError, ModelError
from pellucid.system.torch_extra import require_torch

if TYPE_CHECKING:
    from pellucid.engine.decoders.torch_packing import TorchForm

_log = logging.getLogger(__name__)

SCHEME_VERSION = 7  # Version of the layouts; a packed file of another version is packed again.

QUANTS = ("auto", "none", "half", "int8", "int4")

_BITS = {"half-native": 16, "int8-native": 8, "int4-native": 4}
"""The most bits of a weight in a scheme of the native kernels."""


def choose_scheme(quant: str, device: str, config: DecoderConfig) -> str:
    """Return the scheme for ``quant`` on a device.

    ``auto`` is int8 if the native kernels run the model, else ``none``. ``none`` is bfloat16 if the
    device multiplies bfloat16 fast, else float32.
    """
    if quant not in QUANTS:
        raise ConfigError(f"quant is {quant!r}, but must be auto, none, half, int8 or int4.")
    if device != "cpu" and quant not in ("auto", "none"):
        raise ConfigError(f"quant {quant} runs only on a CPU: use quant none on {device}.")
    if device == "cpu" and quant != "none":
        if calls.available() and supports(config):
            if slow_start := calls.warning():
                _log.warning(slow_start)
            return f"{'int8' if quant == 'auto' else quant}-native"
        obstacle = "The kernels do not support this model's shape." if calls.available() else calls.reason()
        if quant != "auto":
            raise ConfigError(f"quant {quant} needs the native kernels: use quant auto. {obstacle}")
        require_torch("A model without the native kernels")
        _log.warning("Without native kernels, the model runs several times slower, in more memory. %s", obstacle)
    require_torch(f"quant {quant} on {device}")
    from pellucid.engine.decoders import torch_packing

    return "bfloat16" if torch_packing.multiplies_bfloat16(device) else "float32"


def pack(config: DecoderConfig, weights: Iterable[tuple[str, Weight]], scheme: str) -> dict[str, Array]:
    """Pack a checkpoint in memory; see ``packed_pieces``."""
    return dict(packed_pieces(config, weights, scheme))


def packed_pieces(
    config: DecoderConfig, weights: Iterable[tuple[str, Weight]], scheme: str
) -> Iterator[tuple[str, Array]]:
    """Pack a checkpoint: names as in transformers without "model.", floats or blocks in any order.

    A matrix is yielded when complete, so a generator keeps memory low. Without ``lm_head.weight``
    the head is the embedding. Raises ModelError for wrong or missing tensors.
    """
    packer = _Packer(config, scheme)
    for name, weight in weights:
        yield from packer.add(name, weight).items()
    yield from packer.finish().items()


def check(config: DecoderConfig, specs: Mapping[str, Spec], scheme: str) -> None:
    check_packed(config, specs, scheme, _form(scheme).dtype)


def build(config: DecoderConfig, packed: Mapping[str, Array], scheme: str, device: str) -> Model:
    """Return a model that uses and keeps the packed arrays."""
    native = scheme.endswith("-native")
    if native and not calls.available():
        raise ModelError(f"The weights are packed for the native kernels, which are not available: {calls.reason()}")
    check(config, {name: (array.dtype, array.shape) for name, array in packed.items()}, scheme)
    if native:
        return NativeDecoder(config, packed)
    from pellucid.engine.decoders import torch_packing

    return torch_packing.build(config, packed, device)


class NativeForm:
    """Blocks or floats for the kernels; embedding and head have up to eight bits, or sixteen."""

    dtype = np.dtype(np.float32)
    """The dtype of vectors, which is the activations' dtype."""

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def vector(self, weight: NDArray[Any]) -> Array:
        return np.array(floats(weight))

    def matrix(self, name: str, parts: Sequence[Weight]) -> dict[str, Array]:
        """Return the packed arrays of matrices with the same input, one below the other."""
        bits = max(8, self._bits) if name in ("embedding", "head") else self._bits
        packed = pack_matrices([_rounded(part, bits) for part in parts], interleaved=name.endswith("gate_up"))
        return {f"{name}.{field}": array for field, array in packed.items()}


def _rounded(weight: Weight, bits: int) -> Weight:
    if isinstance(weight, Blocks):
        return weight if weight.bits <= bits else round_to_blocks(weight.dequantized(), bits)
    if bits < 16:
        return round_to_blocks(weight, bits)
    return weight if weight.dtype in HALF_DTYPES else clipped_halves(weight)


def _form(scheme: str) -> NativeForm | TorchForm:
    if scheme.endswith("-native"):
        return NativeForm(_BITS[scheme])
    from pellucid.engine.decoders.torch_packing import TorchForm

    return TorchForm(scheme)


class _Packer:
    def __init__(self, config: DecoderConfig, scheme: str) -> None:
        self.config = config
        self.scheme = scheme
        self.form = _form(scheme)
        self.native = scheme.endswith("-native")
        self.parts: dict[str, Weight] = {}  # Parts of incomplete matrices.
        self.biases: dict[str, Array] = {}
        self.seen: set[str] = set()
        self.shapes = checkpoint_shapes(config)
        self.targets = {part: (prefix + name, parts) for prefix, name, parts in self._matrices() for part in parts}

    def _matrices(self) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        """Yield (prefix, packed name, checkpoint names of the parts) of all layer matrices."""
        for prefix, kind in self.config.layer_prefixes:
            for name, parts in self.config.parts(kind).items():
                yield prefix, name, tuple(f"{prefix}{part}.weight" for part in parts)

    def add(self, name: str, weight: Weight) -> dict[str, Array]:
        """Return what is complete. Raise ModelError for a tensor that does not fit the model."""
        if name not in self.shapes:
            raise ModelError(f"The model has a tensor {name!r} that the lean decoder does not know.")
        if tuple(weight.shape) != self.shapes[name]:
            raise ModelError(
                f"Tensor {name!r} has shape {tuple(weight.shape)}, "
                f"but the model's configuration says {self.shapes[name]}."
            )
        if name in self.seen:
            raise ModelError(f"The model has two tensors {name!r}.")
        self.seen.add(name)
        if name in ("embed_tokens.weight", "lm_head.weight"):
            return self.form.matrix("head" if name == "lm_head.weight" else "embedding", [weight])
        if name in self.targets:
            target, names = self.targets[name]
            # Integers need less memory than floats while further parts are awaited.
            self.parts[name] = _rounded(weight, _BITS[self.scheme]) if self.native else weight
            if any(part not in self.parts for part in names):
                return {}
            return self.form.matrix(target, [self.parts.pop(part) for part in names])
        vector = self.form.vector(weight.dequantized() if isinstance(weight, Blocks) else weight)
        if name.endswith(".bias") and f"{name.removesuffix('bias')}weight" in self.targets:
            self.biases[name] = vector
            return {}
        return {_vector_name(name): vector}

    def finish(self) -> dict[str, Array]:
        """Return the biases. Raise ModelError if tensors are missing."""
        missing = [name for name in self.shapes if name not in self.seen and not name.endswith(OPTIONAL)]
        if missing:
            raise ModelError(f"The model lacks {len(missing)} tensors, the first of them {missing[0]!r}.")
        packed = {}
        for prefix, name, parts in self._matrices():
            biases = [part.removesuffix("weight") + "bias" for part in parts]
            if any(bias in self.biases for bias in biases):
                rows = [self.biases.get(bias, np.zeros(self.shapes[bias], self.form.dtype)) for bias in biases]
                interleaved = self.native and name == "gate_up"
                packed[f"{prefix}{name}.bias"] = interleave(*rows) if interleaved else np.concatenate(rows)
        return packed


def checkpoint_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    c = config
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (c.vocab_size, c.hidden_size),
        "norm.weight": (c.hidden_size,),
    }
    for prefix, kind in c.layer_prefixes:
        for name, shape in c.matrix_shapes(kind).items():
            shapes |= {f"{prefix}{name}.weight": shape, f"{prefix}{name}.bias": shape[:1]}
        shapes |= {f"{prefix}{FLOATS[name]}.weight": shape for name, shape in c.float_shapes(kind).items()}
        if c.experts is not None:
            shapes[f"{prefix}mlp.router.weight"] = (c.experts.count, c.hidden_size)
            shapes[f"{prefix}mlp.router.bias"] = (c.experts.count,)
    shapes["lm_head.weight"] = (c.vocab_size, c.hidden_size)
    return shapes


def _vector_name(name: str) -> str:
    for ours, theirs in {**FLOATS, "router": "mlp.router"}.items():
        if f".{theirs}." in name:
            return name.replace(f".{theirs}.", f".{ours}.")
    return name
