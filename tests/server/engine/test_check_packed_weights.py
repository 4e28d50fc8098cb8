"""Packed tensors unfit for the configuration are refused before torch or C reads the tensors."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from pellucid.engine.decoders.decoder import DecoderConfig
from pellucid.engine.native import calls
from pellucid.engine.weight_packing import build, pack
from pellucid.errors import ModelError
from support.models.tiny_decoders import QWEN2, QWEN3, checkpoint, in_blocks

CPU = torch.device("cpu")
INT4 = f"int4-torch-{torch.backends.cpu.get_cpu_capability().lower()}"


@pytest.fixture(params=["float32", "bfloat16", "int8-torch", INT4, "int8-native", "int4-native"])
def scheme(request: pytest.FixtureRequest) -> str:
    """A scheme for this machine."""
    name: str = request.param
    if name.endswith("-native") and not calls.available():
        pytest.skip(calls.reason())
    return name


def with_every_bias(config: DecoderConfig) -> dict[str, Tensor]:
    tensors = checkpoint(config)
    biases = {
        f"{name.removesuffix('weight')}bias": tensor[:, 0].clone()
        for name, tensor in tensors.items()
        if "proj.weight" in name
    }
    return tensors | biases


def refused(config: DecoderConfig, packed: dict[str, Tensor], scheme: str) -> str:
    """Return the reason why no model is built from the tensors, or an empty string."""
    try:
        build(config, packed, scheme, CPU)
    except ModelError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("config", [QWEN2, QWEN3], ids=["qwen2", "qwen3"])
def test_whatever_is_packed_fits(scheme: str, config: DecoderConfig) -> None:
    """Every scheme's own tensors pass, with and without biases, norms, a tied head and blocks."""
    build(config, pack(config, checkpoint(config).items(), scheme), scheme, CPU)
    build(config, pack(config, with_every_bias(config).items(), scheme), scheme, CPU)
    if scheme.endswith("-native"):
        build(config, pack(config, in_blocks(config).items(), scheme), scheme, CPU)


@pytest.mark.parametrize("config", [QWEN2, QWEN3], ids=["qwen2", "qwen3"])
def test_every_tensor_is_checked(scheme: str, config: DecoderConfig) -> None:
    """A tensor with a changed shape, dtype or name is refused by name."""
    packed = pack(config, checkpoint(config).items(), scheme)

    def refusal(name: str, tensor: Tensor) -> str:
        return refused(config, packed | {name: tensor}, scheme)

    for name, tensor in packed.items():
        changes = {
            **{f"shorter in {dim}": tensor.narrow(dim, 0, tensor.shape[dim] - 1) for dim in range(tensor.dim())},
            "flat": tensor.flatten() if tensor.dim() > 1 else tensor[None],
            "transposed": tensor.transpose(0, -1) if tensor.dim() > 1 else tensor[None],
            "empty": tensor[:0],
            "int64": tensor.to(torch.int64),
        }
        for change, changed in changes.items():
            if changed.shape == tensor.shape and changed.dtype == tensor.dtype:
                continue  # The tensor is a transposed square matrix.
            reason = refusal(name, changed.contiguous())
            assert re.fullmatch(r"the tensor \S+ (is .*, but must be .*|is missing|is unknown)", reason), (name, change)
        assert refusal(f"{name}.more", tensor) == f"the tensor '{name}.more' is unknown"


def test_every_tensor_that_a_model_needs_must_be_there(scheme: str) -> None:
    """A model without a required tensor is refused."""
    packed = pack(QWEN2, checkpoint(QWEN2).items(), scheme)
    for name in packed:
        # Biases are optional, and numbers of four bits have a form without minima.
        if name.endswith((".bias", ".minimum")):
            continue
        assert refused(QWEN2, {other: tensor for other, tensor in packed.items() if other != name}, scheme), name


def test_configuration_of_another_model_is_refused(scheme: str) -> None:
    """Weights are never read with the sizes of a different configuration."""
    with pytest.raises(ModelError, match="but must be"):
        build(QWEN3, pack(QWEN2, checkpoint(QWEN2).items(), scheme), scheme, CPU)
