"""Packed weights are read from the file and verified."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pellucid.errors import ModelError
from pellucid.models.packed_weights_file import DamagedFileError, PackedWeights, read_packed, write_packed


def read(path: Path, made_of: str = "model") -> PackedWeights:
    return read_packed(path, made_of, lambda _: None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A packed file with two tensors."""
    write_packed(tmp_path / "some.safetensors", {"a": torch.ones(200), "b": torch.arange(200).to(torch.uint8)}, "model")
    return tmp_path / "some.safetensors"


def test_tensors_are_those_that_were_saved(tmp_path: Path) -> None:
    """Every dtype and shape is read back bit by bit, at a multiple of 64 bytes."""
    tensors = {
        "bytes": torch.arange(300).to(torch.uint8).view(3, 100),
        "halves": torch.randn(7, 5, dtype=torch.float16),
        "floats": torch.randn(11),
        "bfloat16": torch.randn(3, 1, 2).bfloat16(),
        "int8": torch.arange(-5, 5, dtype=torch.int8),
        "int32": torch.arange(9, dtype=torch.int32),
        "empty": torch.empty(0, 4),
    }
    write_packed(tmp_path / "some.safetensors", tensors, "model")

    found = read(tmp_path / "some.safetensors").tensors

    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert tensor.numel() == 0 or found[name].data_ptr() % 64 == 0


@pytest.mark.parametrize("keep", [0, 5, 20, 400])
def test_a_file_that_was_cut_short_is_damaged(path: Path, keep: int) -> None:
    """A truncated file is reported as damaged."""
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedFileError):
        read(path)


def test_checksum_is_of_the_tensors_alone(path: Path, tmp_path: Path) -> None:
    """The checksum depends only on names, dtypes, shapes and contents."""
    base = {"a": torch.ones(200), "b": torch.arange(200).to(torch.uint8)}
    same = {"other source": base, "model": dict(reversed(base.items()))}
    different = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"], "b": base["b"].view(torch.int8)},
        {"a": base["a"].view(20, 10), "b": base["b"]},
        {"a": base["a"], "b": base["b"].flip(0)},
        {"a": base["a"]},
    ]
    first = read(path).checksum
    for made_of, tensors in same.items():
        write_packed(tmp_path / "same", tensors, made_of)
        assert read(tmp_path / "same", made_of).checksum == first
    for tensors in different:
        write_packed(tmp_path / "different", tensors, "model")
        assert read(tmp_path / "different").checksum != first


@pytest.mark.parametrize("metadata", [{}, {"made_of": "model"}, {"made_of": "another", "checksum": "0"}])
def test_file_of_another_model_or_without_a_checksum_is_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    """A file of a different model, or with a wrong checksum, is refused."""
    save_file({"a": torch.ones(20)}, tmp_path / "some.safetensors", metadata)
    with pytest.raises(DamagedFileError, match=r"made of another model|checksum is wrong"):
        read(tmp_path / "some.safetensors")


def test_shapes_are_checked_before_the_data_is_read(path: Path) -> None:
    """Tensors that do not fit are refused by the header, with the reason."""

    def check(specs: Any) -> None:
        assert specs == {"a": (torch.float32, (200,)), "b": (torch.uint8, (200,))}
        raise ModelError("the tensor a is too long")

    with pytest.raises(DamagedFileError, match="the tensor a is too long"):
        read_packed(path, "model", check)


def test_unknown_dtype_is_damage(path: Path) -> None:
    """A dtype outside of packed files is refused in a sentence."""
    save_file({"a": torch.ones(20, dtype=torch.float64)}, path, {"made_of": "model", "checksum": "0"})
    with pytest.raises(DamagedFileError, match="the tensor 'a' has the dtype F64"):
        read(path)


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_huge_header_is_damage(path: Path, length: int) -> None:
    """A header longer than the file is refused without allocation."""
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(DamagedFileError):
        read(path)


def test_overlapping_tensors_are_damage(path: Path) -> None:
    """Overlapping tensors and unused bytes are damage."""
    (size,) = struct.unpack("<Q", path.read_bytes()[:8])
    whole = path.read_bytes()
    header = json.loads(whole[8 : 8 + size])
    header["b"]["data_offsets"] = [0, 200]
    changed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + whole[8 + size :])
    with pytest.raises(DamagedFileError):
        read(path)
