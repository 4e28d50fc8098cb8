"""Decode steps in a few shapes, as replayed by CUDA, have the results of plain steps."""

from __future__ import annotations

import pytest
import torch

from pellucid.engine.decoders.decode_graphs import DecodeGraphs, DecodeRows, GraphShape, shape_of
from pellucid.engine.decoders.torch_model import TensorStorage
from pellucid.engine.model import Batch, BatchSpan
from support.models.flat_batches import batch_of, new_storage, run_parts, run_together
from support.models.tiny_models import random_ids, reference_logprobs, tiny_mistral, to_decoder
from support.models.transformers_and_own_models import close, every_rewindable, models

STARTS = {3: 16, 0: 5, 2: 29}
"""Number of tokens already in each slot."""


def single_tokens(parts: list[tuple[int, int, int]]) -> Batch:
    """Make a batch of single tokens: (slot, position, id)."""
    slots, positions, ids = zip(*parts, strict=True)
    spans = tuple(
        BatchSpan(slot, position, 1, row) for row, (slot, position) in enumerate(zip(slots, positions, strict=True))
    )
    return batch_of(ids, positions, spans, range(len(parts)))


@every_rewindable
def test_fixed_rows_agree_with_the_library(name: str) -> None:
    """In a shape with spare rows and keys, texts in any slots keep their own probabilities.

    Unwritten storage is full of NaN.
    """
    model, decoder = models(name)
    texts = {slot: random_ids(start + 6, seed=slot) for slot, start in STARTS.items()}
    kv = new_storage(decoder)
    assert isinstance(kv, TensorStorage)
    run_parts(decoder, kv, [(slot, 0, texts[slot][:start]) for slot, start in STARTS.items()])
    rows = DecodeRows.empty(GraphShape(rows=8, length=40), decoder.device)
    found: dict[int, list[torch.Tensor]] = {slot: [] for slot in texts}
    for step in range(6):
        rows.fill(single_tokens([(slot, start + step, texts[slot][start + step]) for slot, start in STARTS.items()]))
        logprobs = decoder.logits(decoder.decode(rows, kv)).values.log_softmax(-1)
        torch.testing.assert_close(logprobs[3:], logprobs[:1].expand(5, -1), rtol=0, atol=1e-5)
        for row, slot in enumerate(STARTS):
            found[slot].append(logprobs[row])
    for slot, start in STARTS.items():
        close(torch.stack(found[slot]), reference_logprobs(model, texts[slot])[start:])


def test_fewer_rows_than_before() -> None:
    """No input of an earlier batch remains in the rows of a smaller batch."""
    rows = DecodeRows.empty(GraphShape(rows=4, length=64), torch.device("cpu"))
    rows.fill(single_tokens([(3, 10, 7), (1, 20, 8), (2, 30, 9)]))
    rows.fill(single_tokens([(0, 40, 5)]))
    assert (rows.slots.tolist(), rows.positions.tolist(), rows.ids.tolist()) == ([0] * 4, [40] * 4, [5] * 4)


@pytest.mark.parametrize(
    ("ends", "shape"),
    [
        ([1], GraphShape(1, 512)),
        ([512, 3], GraphShape(2, 512)),
        ([513, 3, 5], GraphShape(4, 1024)),
        ([2049], GraphShape(1, 3000)),
        ([9] * 32, GraphShape(32, 512)),
        ([9] * 33, None),
    ],
)
def test_shapes(ends: list[int], shape: GraphShape | None) -> None:
    """The smallest shape with enough rows and keys is chosen, no longer than a slot, if any."""
    assert shape_of([BatchSpan(row, end - 1, 1, row) for row, end in enumerate(ends)], 3000) == shape


def test_what_has_no_shape() -> None:
    """Prefill, guessed tokens, and more keys than are worth copying have no shape."""
    assert shape_of([BatchSpan(0, 5, 2, 0)], 4096) is None
    assert shape_of([BatchSpan(slot, 8000, 1, slot) for slot in range(16)], 8192) == GraphShape(16, 8192)
    assert shape_of([BatchSpan(slot, 8000, 1, slot) for slot in range(17)], 8192) is None


def test_what_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A failed recording is logged once and not repeated: the caller computes the steps."""

    def refuse(device: torch.device) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", refuse)
    graphs = DecodeGraphs(torch.device("cpu"))
    for _ in range(2):
        assert graphs.run(lambda rows: rows.ids, GraphShape(1, 64), single_tokens([(0, 3, 1)])) is None
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_replayed_on_cuda() -> None:
    """Replayed steps of several shapes have the results of a single pass of the library."""
    model = tiny_mistral(seed=3)
    decoder = to_decoder(tiny_mistral(seed=3).to("cuda"))  # type: ignore[arg-type]
    texts = {slot: random_ids(40, seed=slot) for slot in range(4)}
    counts = {0: [1] * 40, 1: [30, *[1] * 10], 2: [3, 3, *[1] * 34], 3: [*[1] * 20, 20]}
    for slot, logprobs in run_together(decoder, new_storage(decoder), texts, counts).items():
        torch.testing.assert_close(logprobs, reference_logprobs(model, texts[slot]), atol=1e-3, rtol=0)
