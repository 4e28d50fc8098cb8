"""Packed sets of tokens, and rows of logits with only these left."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.engine.masked_row import mask_row
from pellucid.engine.native.calls import Kernels
from pellucid.engine.token_mask import fitted, ids_in, pack_ids


@given(st.data(), st.integers(1, 200))
def test_a_set_holds_its_ids(data: st.DataObject, vocab: int) -> None:
    """A packed set unpacks to the same ids, and fitting drops only ids above the size."""
    ids = data.draw(st.sets(st.integers(0, vocab - 1)))
    mask = pack_ids(ids, vocab)

    assert ids_in(mask) == sorted(ids)
    for size in (1, vocab, vocab + 70):
        kept = fitted(mask, size)
        assert len(kept) == -(-size // 32)
        assert ids_in(kept) == sorted(id for id in ids if id < size)


def test_only_allowed_logits_are_left() -> None:
    """Refused ids get minus infinity; best, total and size count the allowed ids alone."""
    row = mask_row(torch.tensor([1.0, 5.0, 3.0, 3.0]), pack_ids([0, 2, 3], 4))

    assert row.logits is not None
    assert row.logits.tolist() == [1.0, -math.inf, 3.0, 3.0]
    assert (row.best, row.size) == (2, 3)
    assert row.total == pytest.approx(math.log(math.e + 2 * math.e**3))


@pytest.mark.parametrize("vocab", [1, 31, 32, 97, 128, 1000, 5003])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_the_kernel_agrees(built: Kernels, vocab: int, share: float) -> None:
    """The native kernel gives the result of the torch operations, bit by bit for the logits."""
    random = torch.Generator().manual_seed(vocab)
    logits = torch.randn(vocab, generator=random) * 8
    allowed = {vocab - 1} | set(torch.nonzero(torch.rand(vocab, generator=random) < share).flatten().tolist())
    mask = pack_ids(allowed, vocab)

    expected, actual = mask_row(logits, mask), built.mask_row(logits, mask)

    assert actual.logits is not None
    assert expected.logits is not None
    assert torch.equal(actual.logits, expected.logits)
    assert built.mask_row(logits, mask, keep=False) == (None, *actual[1:])
    assert (actual.best, actual.size) == (expected.best, expected.size)
    assert actual.total == pytest.approx(float(expected.logits.double().logsumexp(0)), abs=1e-5)


def test_targets_agree(built: Kernels, folder: Path) -> None:
    """The portable code gives the same result."""
    logits, mask = torch.randn(777), np.arange(25, dtype=np.int32) * 7919 + 1
    portable = Kernels("portable", folder=folder).mask_row(logits, mask)
    native = built.mask_row(logits, mask)

    assert portable.logits is not None
    assert native.logits is not None
    assert torch.equal(portable.logits, native.logits)
    assert (portable.best, portable.size) == (native.best, native.size)
    assert portable.total == pytest.approx(native.total, abs=1e-5)


def test_impossible_sets_fail(built: Kernels) -> None:
    """An empty set, and a set of impossible tokens, raise an error in both implementations."""
    for mask, logits in ((pack_ids([], 3), torch.zeros(3)), (pack_ids([1], 3), torch.tensor([0.0, -math.inf, 0.0]))):
        for masked in (mask_row, built.mask_row):
            with pytest.raises(ValueError, match="allows no token"):
                masked(logits, mask)
