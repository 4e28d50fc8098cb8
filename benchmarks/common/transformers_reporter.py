"""Measures ``generate`` of the transformers library, in this process."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer


class TransformersReporter:
    """The same weights as the other engines, with random tokens as the prompt."""

    def __init__(self, path: Path, threads: int, dtype: torch.dtype) -> None:
        torch.set_num_threads(threads)
        self._model: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
        # Every answer has the full length.
        self._model.generation_config.eos_token_id = None

    def prefills(self, counts: Sequence[int]) -> dict[int, float]:
        return {count: count / self._times(count, 1)[0] for count in counts}

    def decode(self, tokens: int, behind: int) -> float:
        return (tokens - 1) / self._times(behind, tokens)[1]

    @torch.inference_mode()
    def _times(self, prompt: int, answer: int) -> tuple[float, float]:
        """Return the seconds to the first token, and from there to the last."""
        clock = _TokenClock()
        ids = torch.tensor([random.choices(range(self._model.config.vocab_size // 2), k=prompt)])
        start = time.perf_counter()
        self._model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=answer, do_sample=False, streamer=clock
        )
        assert len(clock.times) == answer + 1
        return clock.times[1] - start, clock.times[-1] - clock.times[1]


class _TokenClock(BaseStreamer):
    """Records the time of each token; ``generate`` passes the prompt first."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Do nothing."""
