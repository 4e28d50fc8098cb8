"""Tests the page's what-if divergences in Compare against the server's sampler."""

from __future__ import annotations

from math import inf, log
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.engine.decoders.torch_model import score_rows
from pellucid.engine.sampler import token_scores, truncate
from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.conversations.compact_tokens import record
from support.node_modules import in_node

KEPT = 10
"""Number of alternatives of a token."""

INFINITE = 999

SETTINGS = [
    {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
    {"temperature": 0.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
    {"temperature": 1.4, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
    {"temperature": 0.8, "top_k": 0, "top_p": 0.9, "min_p": 0.0},
    {"temperature": 1.0, "top_k": 5, "top_p": 1.0, "min_p": 0.0},
    {"temperature": 0.7, "top_k": 0, "top_p": 1.0, "min_p": 0.1},
    {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
]

IMPORTS = """import { leastDivergence } from "assets/compare/compare_readings.js";
import { weigh } from "assets/tokens/sampler_whatif.js";"""

LEAST = """pairs => pairs.map(([p, q, settings]) => {
  const [one, other] = [p, q].map((record) => weigh(record, settings));
  return leastDivergence(p, one, q, other);
})"""


def recorded(logits: Tensor) -> dict[str, Any]:
    id = int(logits.argmax())
    score = token_scores(score_rows(logits[None], torch.tensor([id]), KEPT), [0])[0]
    top = tuple(Alternative(one, f"t{one}", f"t{one}".encode(), logprob) for one, logprob in score.top)
    return record(Token(id, f"t{id}", f"t{id}".encode(), 0, score.logprob, score.rank, score.entropy, top, score.rest))


def shares(logits: Tensor, settings: dict[str, float]) -> dict[int, float]:
    """Return the probability with which the server's sampler takes each token."""
    if settings["temperature"] == 0:
        return {int(logits.argmax()): 1.0}
    ids, weights = truncate(
        (logits / settings["temperature"]).numpy(),
        int(settings["top_k"]),
        settings["top_p"],
        settings["min_p"],
    )
    found = (weights / weights.sum(dtype=np.float64)).tolist()
    return dict(zip(range(len(found)) if ids is None else ids.tolist(), found, strict=True))


def divergence(p: dict[int, float], q: dict[int, float]) -> float:
    """Return KL(p || q)."""
    return sum(x * (log(x / q[id]) if q.get(id) else inf) for id, x in p.items() if x > 0)


def pair(seed: int) -> tuple[Tensor, Tensor]:
    """Return the logits of two models with the same vocabulary, from similar to unrelated."""
    random = torch.Generator().manual_seed(seed)
    size = int(torch.randint(40, 3000, (), generator=random))
    first = torch.randn(size, generator=random) * (1.0, 3.0, 5.0)[seed % 3]
    return first, first + torch.randn(size, generator=random) * (0.1, 1.0, 4.0)[seed // 3 % 3]


PAIRS = [pair(seed) for seed in range(36)]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: "-".join(str(value) for value in one.values()))
def test_a_lower_bound(settings: dict[str, float]) -> None:
    """The bound never exceeds the divergence, and is infinite only for an infinite one.

    For similar models whose alternatives have most of the mass, as with language models, the bound
    is most of the divergence.
    """
    found = in_node(IMPORTS, LEAST, [[recorded(p), recorded(q), settings] for p, q in PAIRS])
    truths = [divergence(shares(p, settings), shares(q, settings)) for p, q in PAIRS]
    for low, true in zip(found, truths, strict=True):
        assert low <= true + 1e-4 or (low == INFINITE and true == inf)
    if settings == SETTINGS[0]:
        peaked = [
            (low, true)
            for seed, (low, true) in enumerate(zip(found, truths, strict=True))
            if seed % 3 == 2 and seed // 3 % 3 < 2
        ]
        assert sum(low for low, _ in peaked) > 0.7 * sum(true for _, true in peaked)
    infinite = [low for low, true in zip(found, truths, strict=True) if true == inf]
    if settings["temperature"] == 0 or settings["top_k"]:
        assert infinite
        assert set(infinite) == {INFINITE}


def test_equal_models() -> None:
    """The divergence of a model from itself is 0."""
    records = [recorded(p) for p, _ in PAIRS[:9]]
    for settings in SETTINGS:
        assert max(in_node(IMPORTS, LEAST, [[record, record, settings] for record in records])) < 1e-3
