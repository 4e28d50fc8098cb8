"""Packed weights, read from their file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from pellucid.models.packed_file import read_tensors


def test_tensors_are_those_that_were_saved(tmp_path: Path) -> None:
    """Every dtype and shape comes back bit by bit, the empty one too, each tensor at a multiple of 64 bytes."""
    tensors = {
        "bytes": torch.arange(300).to(torch.uint8).view(3, 100),
        "halves": torch.randn(7, 5, dtype=torch.float16),
        "floats": torch.randn(11),
        "bfloat16": torch.randn(3, 1, 2).bfloat16(),
        "int8": torch.arange(-5, 5, dtype=torch.int8),
        "int32": torch.arange(9, dtype=torch.int32),
        "empty": torch.empty(0, 4),
    }
    save_file(tensors, tmp_path / "some.safetensors", {"scheme": "any"})

    found = read_tensors(tmp_path / "some.safetensors")

    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert tensor.numel() == 0 or found[name].data_ptr() % 64 == 0


@pytest.mark.parametrize("keep", [0, 5, 20, 400])
def test_a_file_that_was_cut_short_is_damaged(tmp_path: Path, keep: int) -> None:
    """Wherever it ends too early, nothing of it is taken for weights."""
    path = tmp_path / "some.safetensors"
    save_file({"a": torch.ones(200)}, path)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(SafetensorError):
        read_tensors(path)
