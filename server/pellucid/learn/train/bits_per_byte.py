"""Bits per byte of byte window models, for model selection during training."""

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

_ROWS = 4096  # 4 MB of logits


class NextByteModel(Protocol):
    reach: int

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits (R, 256) after histories (R, reach)."""
        ...


def bits_per_byte(model: NextByteModel, texts: Sequence[Bytes]) -> float:
    nats = 0.0
    for text in texts:
        data = torch.from_numpy(text)
        rows = histories(data, model.reach)
        for first in range(0, len(data), _ROWS):
            logprobs = model.head(rows[first : first + _ROWS]).log_softmax(-1)
            nats -= float(logprobs.gather(1, data[first : first + _ROWS, None].long()).sum(dtype=torch.float64))
    return nats / math.log(2) / sum(map(len, texts))
