"""Packing a checkpoint, and building models from packed weights."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from pellucid.engine.decoders.decoder import Decoder
from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.model import Model
from pellucid.engine.native import calls
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.kernel_compiler import KernelsUnavailableError
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.weight_packing import build, checkpoint_shapes, choose_scheme, pack
from pellucid.errors import ConfigError, ModelError
from support.models.flat_batches import new_storage, tensor_of
from support.models.tiny_decoders import QWEN2, QWEN3, batch, checkpoint, distance, in_blocks, random_text

TOLERANCES = {"float32": 0, "bfloat16": 0.03, "half-native": 0.002, "int8-native": 0.06, "int4-native": 0.4}


@pytest.fixture(params=TOLERANCES)
def scheme(request: pytest.FixtureRequest) -> str:
    """A scheme for this machine."""
    name: str = request.param
    if name.endswith("-native") and not calls.available():
        pytest.skip(calls.reason())
    return name


def logits(model: Model, config: DecoderConfig) -> Tensor:
    """Return the logits of a text of 40 tokens, from passes over 33 and 7 tokens."""
    ids, kv = random_text(config, 40), new_storage(model)
    passes = [batch([(1, 0, ids[:33])]), batch([(1, 33, ids[33:])])]
    return torch.cat([tensor_of(model.logits(model.forward(part, kv))) for part in passes])


@pytest.mark.parametrize("config", [QWEN2, QWEN3], ids=["qwen2", "qwen3"])
def test_every_scheme_computes_the_checkpoint(scheme: str, config: DecoderConfig) -> None:
    """In every scheme, the logits equal the float32 logits up to the scheme's rounding."""
    tensors = checkpoint(config)
    exact = build(config, pack(config, tensors.items(), "float32"), "float32", "cpu")
    model = build(config, pack(config, tensors.items(), scheme), scheme, "cpu")
    assert distance(logits(model, config), logits(exact, config)) <= TOLERANCES[scheme]
    assert model.description
    assert model.weight_bytes <= exact.weight_bytes


@pytest.mark.parametrize("config", [QWEN2, QWEN3], ids=["qwen2", "qwen3"])
def test_order_does_not_matter(scheme: str, config: DecoderConfig) -> None:
    """The order of the tensors is irrelevant, even of the head and the embedding."""
    tensors = list(checkpoint(config).items())
    forward, backward = pack(config, tensors, scheme), pack(config, reversed(tensors), scheme)
    assert forward.keys() == backward.keys()
    assert all(np.array_equal(forward[name], backward[name]) for name in forward)


def test_packed_file_is_used_where_it_lies(scheme: str, tmp_path: Path) -> None:
    """A model over a packed file copies nothing."""
    save_file(pack(QWEN3, checkpoint(QWEN3).items(), scheme), tmp_path / "packed.safetensors")
    packed = load_file(tmp_path / "packed.safetensors")
    model = build(QWEN3, packed, scheme, "cpu")
    again = build(QWEN3, pack(QWEN3, checkpoint(QWEN3).items(), scheme), scheme, "cpu")
    assert torch.equal(logits(model, QWEN3), logits(again, QWEN3))
    if isinstance(model, Decoder):
        assert model.weights.embedding.data_ptr() == packed["embedding.weight"].ctypes.data
        linear = model.weights.layers[1].gate_up
        assert linear.weight.data_ptr() == packed["layers.1.gate_up.weight"].ctypes.data
    else:
        assert isinstance(model, NativeDecoder)


def test_tensors_are_freed_as_layers_are_packed() -> None:
    """During packing, memory holds only the matrices for the next fused matrix."""
    matrices: list[weakref.ref[NDArray[Any]]] = []
    most = 0

    def stream() -> Iterator[tuple[str, NDArray[Any]]]:
        nonlocal most
        for name, shape in checkpoint_shapes(QWEN3).items():
            if name.endswith("proj.weight"):
                matrix = np.zeros(shape, np.float32)
                matrices.append(weakref.ref(matrix))
                most = max(most, sum(reference() is not None for reference in matrices))
                yield name, matrix
            elif not name.endswith(".bias"):
                yield name, np.zeros(shape, np.float32)

    pack(QWEN3, stream(), "bfloat16")
    # Queries, keys and values together, and tensors still referenced by loops.
    assert 3 <= most <= 5


def test_wrong_checkpoints_are_named() -> None:
    """A missing, unknown or misshapen tensor is named in one sentence."""
    tensors = checkpoint(QWEN2)
    missing = {name: tensor for name, tensor in tensors.items() if name != "layers.1.mlp.up_proj.weight"}
    with pytest.raises(ModelError, match=r"lacks 1 tensors, the first of them 'layers\.1\.mlp\.up_proj\.weight'"):
        pack(QWEN2, missing.items(), "float32")
    with pytest.raises(ModelError, match=r"'layers\.2\.mlp\.up_proj\.weight' that the lean decoder does not know"):
        pack(QWEN2, [("layers.2.mlp.up_proj.weight", np.zeros((128, 64), np.float32))], "float32")
    with pytest.raises(ModelError, match=r"has shape \(95, 64\), but the model's configuration says \(128, 64\)"):
        pack(QWEN2, [("layers.1.mlp.up_proj.weight", np.zeros((95, 64), np.float32))], "float32")
    with pytest.raises(ModelError, match=r"two tensors 'norm\.weight'"):
        pack(QWEN2, [*tensors.items(), ("norm.weight", tensors["norm.weight"])], "float32")


def test_biases_of_every_matrix_are_kept(scheme: str) -> None:
    """The biases of Llama's attention_bias and mlp_bias are used for every matrix."""
    generator = torch.Generator().manual_seed(5)
    tensors = checkpoint(QWEN2)
    for name, tensor in list(tensors.items()):
        if name.endswith("proj.weight"):
            tensors[name.removesuffix("weight") + "bias"] = torch.randn(len(tensor), generator=generator).numpy()
    exact = logits(build(QWEN2, pack(QWEN2, tensors.items(), "float32"), "float32", "cpu"), QWEN2)
    model = build(QWEN2, pack(QWEN2, tensors.items(), scheme), scheme, "cpu")
    assert distance(logits(model, QWEN2), exact) <= TOLERANCES[scheme]
    plain = logits(build(QWEN2, pack(QWEN2, checkpoint(QWEN2).items(), scheme), scheme, "cpu"), QWEN2)
    assert distance(plain, exact) > 0.5


def test_scheme_for_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU gets int8 if the native kernels run; a GPU gets bfloat16 and refuses fewer bits."""
    monkeypatch.setattr(calls, "available", lambda: True)
    assert choose_scheme("auto", "cpu", QWEN2) == choose_scheme("int8", "cpu", QWEN2) == "int8-native"
    floats = choose_scheme("none", "cpu", QWEN2)
    assert floats in ("float32", "bfloat16")
    assert choose_scheme("auto", "cpu", replace(QWEN2, head_dim=24)) == floats
    for quant in ("int4", "half"):
        assert choose_scheme(quant, "cpu", QWEN2) == f"{quant}-native"
    monkeypatch.setattr(calls, "available", lambda: False)
    assert choose_scheme("auto", "cpu", QWEN2) == floats
    with pytest.raises(ConfigError, match="quant int4 needs the native kernels: use quant auto"):
        choose_scheme("int4", "cpu", QWEN2)
    cuda = "cuda:1"
    assert choose_scheme("auto", cuda, QWEN2) == choose_scheme("none", cuda, QWEN2) == "bfloat16"
    for quant in ("int8", "int4", "half"):
        with pytest.raises(ConfigError, match="use quant none on cuda"):
            choose_scheme(quant, cuda, QWEN2)
    with pytest.raises(ConfigError, match="must be auto, none, half, int8 or int4"):
        choose_scheme("int7", "cpu", QWEN2)


@pytest.mark.process
def test_what_makes_a_model_slow_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A start logs the reasons of a slow model or slow start, with remedies, or nothing."""
    (tmp_path / "file").touch()
    broken = KernelsUnavailableError("No C compiler was found: install gcc.")
    unkept = unkept_kernels(tmp_path / "file" / "kernels")
    for found, config, sentence in (
        (
            broken,
            QWEN2,
            "runs several times slower, in more memory. No C compiler was found: install gcc.",
        ),
        (unkept, replace(QWEN2, head_dim=24), "The kernels do not support this model's shape."),
        (unkept, QWEN2, "compiled at every start, which takes longer."),
    ):
        caplog.clear()
        monkeypatch.setattr(calls, "shared_kernels", lambda found=found: found)
        choose_scheme("auto", "cpu", config)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert sentence in caplog.text
    caplog.clear()
    choose_scheme("none", "cpu", QWEN2)
    monkeypatch.undo()
    if calls.available():
        choose_scheme("auto", "cpu", QWEN2)
    assert caplog.text == calls.warning()


def unkept_kernels(folder: Path) -> Kernels:
    """Return kernels that cannot be kept, without optimisation for a quick compilation."""
    return Kernels("portable", threads=1, folder=folder, compiler="""sh -c 'exec cc "$@" -O0' cc""")


def test_packed_for_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed file for a different machine is refused."""
    monkeypatch.setattr(calls, "available", lambda: False)
    monkeypatch.setattr(calls, "reason", lambda: "There is no C compiler here.")
    with pytest.raises(ModelError, match="There is no C compiler here"):
        build(QWEN2, {}, "int8-native", "cpu")


def with_every_bias(config: DecoderConfig) -> dict[str, NDArray[Any]]:
    tensors = checkpoint(config)
    biases = {
        f"{name.removesuffix('weight')}bias": tensor[:, 0].copy()
        for name, tensor in tensors.items()
        if "proj.weight" in name
    }
    return tensors | biases


def refused(config: DecoderConfig, packed: dict[str, NDArray[Any]], scheme: str) -> str:
    """Return the reason why no model is built from the tensors, or an empty string."""
    try:
        build(config, packed, scheme, "cpu")
    except ModelError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("config", [QWEN2, QWEN3], ids=["qwen2", "qwen3"])
def test_whatever_is_packed_fits(scheme: str, config: DecoderConfig) -> None:
    """Every scheme's own tensors pass, with and without biases, norms, a tied head and blocks."""
    build(config, pack(config, checkpoint(config).items(), scheme), scheme, "cpu")
    build(config, pack(config, with_every_bias(config).items(), scheme), scheme, "cpu")
    if scheme.endswith("-native"):
        build(config, pack(config, in_blocks(config).items(), scheme), scheme, "cpu")


@pytest.mark.parametrize("config", [QWEN2, QWEN3], ids=["qwen2", "qwen3"])
def test_every_tensor_is_checked(scheme: str, config: DecoderConfig) -> None:
    """A tensor with a changed shape, dtype or name is refused by name."""
    packed = pack(config, checkpoint(config).items(), scheme)

    def refusal(name: str, tensor: NDArray[Any]) -> str:
        return refused(config, packed | {name: tensor}, scheme)

    for name, tensor in packed.items():
        changes = {
            **{f"shorter in {dim}": tensor.take(range(tensor.shape[dim] - 1), dim) for dim in range(tensor.ndim)},
            "flat": tensor.flatten() if tensor.ndim > 1 else tensor[None],
            "transposed": tensor.swapaxes(0, -1) if tensor.ndim > 1 else tensor[None],
            "empty": tensor[:0],
            "int64": tensor.astype(np.int64),
        }
        for change, changed in changes.items():
            if changed.shape == tensor.shape and changed.dtype == tensor.dtype:
                continue  # The tensor is a transposed square matrix.
            reason = refusal(name, np.ascontiguousarray(changed))
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
        build(QWEN3, pack(QWEN2, checkpoint(QWEN2).items(), scheme), scheme, "cpu")
