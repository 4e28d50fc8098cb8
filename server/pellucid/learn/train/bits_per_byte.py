"""Bits per byte of a model of the last bytes, found without an engine: to choose by while training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.engine.decoders.byte_window_model import histories

Bytes = NDArray[np.uint8]

_ROWS = 4096  # of logits held at once: 4 MB


class NextByteModel(Protocol):
    """A model of the last ``reach`` bytes."""

    reach: int

    def logits(self, hidden: Tensor) -> Tensor:
        """Of what follows histories (R, reach)."""
        ...


def bits_per_byte(model: NextByteModel, texts: Sequence[Bytes]) -> float:
    """What it takes to tell texts, in bits by bytes."""
    nats = 0.0
    for text in texts:
        data = torch.from_numpy(text)
        rows = histories(data, model.reach)
        for first in range(0, len(data), _ROWS):
            logprobs = model.logits(rows[first : first + _ROWS]).log_softmax(-1)
            nats -= float(logprobs.gather(1, data[first : first + _ROWS, None].long()).sum(dtype=torch.float64))
    return nats / math.log(2) / sum(map(len, texts))
