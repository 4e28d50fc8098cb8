"""Generates the first lines of several greedy answers in one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from pellucid.engine.masked_row import mask_row
from pellucid.learn.finetune.training.samples import InfillExample
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.healing import Healing

MAX_LINE = 32


@torch.inference_mode()
def first_lines(model: Any, tokenizer: Tokenizer, prompts: Sequence[InfillExample], ends: Iterable[int]) -> list[str]:
    """Return the first line of each prompt's greedy answer.

    The prompts' common prefix is computed once. Each prompt can be used only once, because healing
    constraints are advanced.
    """
    shared = _shared([prompt.ids for prompt in prompts])
    device, cache = model.device, DynamicCache(config=model.config)
    # The name depends on the library's version.
    name = "cache" if "cache" in signature(model.model.forward).parameters else "past_key_values"
    kept: dict[str, Any] = {name: cache, "use_cache": True}
    tails = [prompt.ids[shared:] for prompt in prompts]
    longest = max(map(len, tails))
    if shared:
        model.model(input_ids=torch.tensor([prompts[0].ids[:shared]], device=device), **kept)
        cache.batch_repeat_interleave(len(prompts))
    ids = torch.tensor([[*[0] * (longest - len(tail)), *tail] for tail in tails], device=device)
    seen = torch.tensor(
        [[*[1] * shared, *[0] * (longest - len(tail)), *[1] * len(tail)] for tail in tails], device=device
    )
    writers = [_GeneratedLine(tokenizer, prompt.healing, frozenset(ends)) for prompt in prompts]
    while True:
        positions = (seen.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        hidden = model.model(input_ids=ids, attention_mask=seen, position_ids=positions, **kept).last_hidden_state
        logits = model.lm_head(hidden[:, -1]).float()
        chosen = [writer.take(row) for writer, row in zip(writers, logits, strict=True)]
        if all(writer.done for writer in writers):
            return [writer.answer() for writer in writers]
        ids = torch.tensor(chosen, device=device)[:, None]
        seen = torch.cat([seen, torch.ones_like(ids)], dim=1)


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    count = 0
    for column in zip(*(prompt[:-1] for prompt in prompts), strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count


class _GeneratedLine:
    def __init__(self, tokenizer: Tokenizer, healing: Healing | None, ends: frozenset[int]) -> None:
        self.done = False
        self._tokenizer = tokenizer
        self._healing = healing
        self._ends = ends
        self._skipped = len(healing.typed) if healing is not None else 0
        self._data = b""
        self._left = MAX_LINE + (healing.steps if healing is not None else 0)

    def take(self, logits: Tensor) -> int:
        """Return the best allowed token of logits (vocabulary,); 0 once the line is complete."""
        if self.done:
            return 0
        allowed = self._healing.allowed() if self._healing is not None else None
        id = int(logits.argmax()) if allowed is None else mask_row(logits.float().cpu().numpy(), allowed).best
        if self._healing is not None and allowed is not None:
            self._healing.advance(id)
        self._left -= 1
        if id in self._ends:
            self.done = True
            return id
        self._data += self._tokenizer.token_bytes(id)
        self.done = b"\n" in self._data[self._skipped :] or not self._left
        return id

    def answer(self) -> str:
        line = self._data[self._skipped :].split(b"\n", 1)[0]
        return line.decode(errors="replace").rstrip()
