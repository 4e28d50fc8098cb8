"""Validation of packed tensors against the model's configuration.

C code trusts the given sizes: a tensor too small would be read out of bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.native.kernel_layout import BLOCK, FORMS, GROUP, HALF_DTYPES, TABLE_BYTES
from pellucid.errors import ModelError

Spec: TypeAlias = tuple[np.dtype[Any], tuple[int, ...]]
"""The dtype and the shape of a stored array; numpy has no bfloat16, whose bits are uint16."""

_UINT8, _FLOAT16 = np.dtype(np.uint8), np.dtype(np.float16)

OPTIONAL = ("q_norm.weight", "k_norm.weight", ".bias", "lm_head.weight")
"""Ends of the names of tensors that a model may lack."""


def check_packed(config: DecoderConfig, packed: Mapping[str, Spec], scheme: str, dtype: np.dtype[Any]) -> None:
    """Raise ModelError unless ``packed`` holds exactly the tensors of a decoder in ``scheme``.

    ``dtype`` is the activations' dtype.
    """
    wanted = _vectors(config, dtype)
    if scheme.endswith("-native"):
        wanted |= _native_matrices(config, packed)
    else:
        wanted |= _torch_matrices(config, dtype, own_head="head.weight" in packed)
    for name, spec in wanted.items():
        if name not in packed and not name.endswith(OPTIONAL):
            raise ModelError(f"the tensor {name} is missing")
        if packed.get(name, spec) != spec:
            raise ModelError(f"the tensor {name} is {_described(packed[name])}, but must be {_described(spec)}")
    unknown = next((name for name in packed if name not in wanted), None)
    if unknown is not None:
        raise ModelError(f"the tensor {unknown!r} is unknown")


def _vectors(config: DecoderConfig, dtype: np.dtype[Any]) -> dict[str, Spec]:
    vectors: dict[str, Spec] = {"norm.weight": (dtype, (config.hidden_size,))}
    for prefix, kind in config.layer_prefixes:
        vectors |= {f"{prefix}{name}.weight": (dtype, shape) for name, shape in config.float_shapes(kind).items()}
        if config.experts is not None:
            shape = (config.experts.count, config.hidden_size)
            vectors |= {f"{prefix}router.weight": (dtype, shape), f"{prefix}router.bias": (dtype, shape[:1])}
    return vectors | {f"{name}.bias": (dtype, (sum(rows),)) for name, rows, _ in _matrices(config)}


def _torch_matrices(config: DecoderConfig, dtype: np.dtype[Any], *, own_head: bool) -> dict[str, Spec]:
    vocabulary = (config.vocab_size, config.hidden_size)
    wanted: dict[str, Spec] = {"embedding.weight": (dtype, vocabulary)}
    if own_head:
        wanted["head.weight"] = (dtype, vocabulary)
    return wanted | {f"{name}.weight": (dtype, (sum(rows), columns)) for name, rows, columns in _matrices(config)}


def _native_matrices(config: DecoderConfig, packed: Mapping[str, Spec]) -> dict[str, Spec]:
    """Return the expected specs of each matrix part, in the form found in the file.

    The default is the first form.
    """
    wanted: dict[str, Spec] = {}
    heads = ("embedding", "head") if "head.0.number" in packed else ("embedding",)
    matrices = [*((name, (config.vocab_size,), config.hidden_size) for name in heads), *_matrices(config)]
    for name, rows, columns in matrices:
        if name.endswith("gate_up") and f"{name}.1.number" not in packed:
            rows = (sum(rows),)  # Parts with the same form are one interleaved matrix.
        for index, count in enumerate(rows):
            forms = [
                {f"{name}.{index}.{field}": spec for field, spec in form.items()}
                for form in _forms(-(-count // BLOCK), columns // GROUP)
            ]
            fields = [f"{name}.{index}.{field}" for field in ("number", "scale", "minimum", "table")]
            part = {field: packed[field] for field in fields if field in packed}
            wanted |= part if part in forms else forms[0]
    return wanted


def _forms(blocks: int, groups: int) -> Iterator[dict[str, Spec]]:
    """Yield the forms of a matrix part, of integers first."""
    for bits, shared, with_minimum, with_table in FORMS:
        scale = (_FLOAT16, (blocks, groups, GROUP // shared, BLOCK))
        form: dict[str, Spec] = {"number": (_UINT8, (blocks, groups, BLOCK * GROUP * bits // 8)), "scale": scale}
        form |= {"minimum": scale} if with_minimum else {}
        yield form | ({"table": (_UINT8, (TABLE_BYTES,))} if with_table else {})
    for dtype in HALF_DTYPES:
        yield {"number": (dtype, (blocks, groups, GROUP, BLOCK))}


def _matrices(config: DecoderConfig) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Yield name, rows of each part, and columns of each layer matrix."""
    for prefix, kind in config.layer_prefixes:
        shapes = config.matrix_shapes(kind)
        for name, parts in config.parts(kind).items():
            yield prefix + name, tuple(shapes[part][0] for part in parts), shapes[parts[0]][1]


def _described(spec: Spec) -> str:
    dtype, shape = spec
    return f"{'bfloat16' if dtype == np.uint16 else dtype} {shape}"
