"""Estimates how fast the catalog's models are on this machine, before they are downloaded: one layer of each, with random weights.

All layers of a decoder cost the same, so a model takes as many times as long as it has layers. The head is measured with fewer rows than it
has, since its time grows with them. The sampler, the tokenizer and HTTP are not included: a few milliseconds an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pellucid.engine import weight_packing
from pellucid.engine.decoders.decoder import DecoderConfig
from pellucid.engine.decoders.quantized_blocks import round_to_blocks
from pellucid.engine.model import Batch, BatchSpan, KVStorage, Model
from pellucid.engine.weight_packing import Weight
from pellucid.models.catalog import ModelShape
from pellucid.models.load import find_device

HEAD_ROWS = 16_384
"""Rows of the measured head."""

WINDOW = 1_024
"""Tokens in the cache at a keystroke: the text around the cursor."""

NEW_TOKENS, ANSWER_TOKENS = 16, 12
"""Tokens that a keystroke reads, as its neighbourhood is in the cache, and those of a line that it generates."""

PASSES = 3


DRAWN_ROWS = 64
"""Rows of a matrix that are drawn and then repeated."""


@dataclass(frozen=True, slots=True)
class SpeedEstimate:
    """The estimated cost of a model: ``memory`` in bytes, seconds of a ``keystroke``, and of the ``first`` one in a file."""

    memory: int
    keystroke: float
    first: float


@torch.inference_mode()
def estimate(shape: ModelShape, device: str = "auto", quant: str = "auto") -> SpeedEstimate:
    """Measure one layer and a part of the head, and return what the whole model costs.

    Raises ConfigError for a device or a quant that is not available.
    """
    target = find_device(device)
    config = _config(shape)
    scheme = weight_packing.choose_scheme(quant, target, config)
    packed = weight_packing.pack(config, _random_weights(config, shape.bits, blocks=scheme.endswith("-native")), scheme)
    model = weight_packing.build(config, packed, scheme, target)
    storage = _storage(model)
    read_window, read_few, read_one = (_fastest(partial(model.forward, _batch(model, count), storage)) for count in (WINDOW, NEW_TOKENS, 1))
    share = shape.vocab_size / config.vocab_size
    hidden = model.forward(_batch(model, 1), storage)
    token = shape.layers * read_one + share * _fastest(partial(model.logits, hidden))
    vocabulary = sum(tensor.nbytes for name, tensor in packed.items() if name.startswith("embedding."))
    layer_bytes = model.weight_bytes - vocabulary
    layer_bytes = model.weight_bytes - vocabulary + WINDOW * model.cache_shape.bytes_per_token
    vocabularies = share * vocabulary * (1 if shape.tied else 2)
    return SpeedEstimate(
        memory=round(shape.layers * layer_bytes + vocabularies),
        keystroke=shape.layers * read_few + ANSWER_TOKENS * token,
        first=shape.layers * read_window + ANSWER_TOKENS * token,
    )


def _config(shape: ModelShape) -> DecoderConfig:
    """Return the shape of a decoder with one layer and a short head."""
    return DecoderConfig(
        vocab_size=HEAD_ROWS,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        layers=1,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.hidden_size // shape.heads,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        context=2 * WINDOW,
    )


def _random_weights(config: DecoderConfig, bits: int, *, blocks: bool) -> Iterator[tuple[str, Weight]]:
    """Yield the tensors of a checkpoint; with ``blocks``, matrices in the form of a file of that many bits.

    A small random block is repeated: drawing hundreds of millions of numbers would take longer than the measurement.
    """
    for name, size in weight_packing.checkpoint_shapes(config).items():
        if len(size) < 2:
            yield name, torch.ones(size)
            continue
        if name == "lm_head.weight":
            continue  # the embedding is measured as the head
        rows, columns = size
        matrix = torch.randn(min(rows, DRAWN_ROWS), columns).repeat(-(-rows // DRAWN_ROWS), 1)[:rows] / columns**0.5
        yield name, round_to_blocks(matrix, bits) if blocks else matrix


def _storage(model: Model) -> KVStorage:
    shape = model.cache_shape
    tensors = [torch.zeros(1, shape.kv_heads, 2 * WINDOW, shape.head_dim, dtype=shape.dtype, device=shape.device) for _ in range(2)]
    return KVStorage([tensors[0]], [tensors[1]])


def _batch(model: Model, count: int) -> Batch:
    """Return a batch of ``count`` tokens: at the beginning if they fill the window, else after it."""
    device, start = model.cache_shape.device, 0 if count == WINDOW else WINDOW
    ids = torch.arange(count, device=device)
    return Batch(ids, ids + start, (BatchSpan(0, start, count, 0),), torch.tensor([count - 1], device=device))


def _fastest(run: Callable[[], Tensor]) -> float:
    """Return the seconds of the fastest of some passes, after one that does not count. The result is waited for."""
    times = []
    for _ in range(1 + PASSES):
        start = time.perf_counter()
        run().sum().item()
        times.append(time.perf_counter() - start)
    return min(times[1:])
