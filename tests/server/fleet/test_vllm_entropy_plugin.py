"""vLLM's entropy plugin, on a stand-in for vLLM's method (`make test-fleet` tests real vLLM)."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.fleet.entropy_bounds import entropy_range
from pellucid.fleet.vllm_wire import ENTROPY_ID

FILE = Path(__file__).parents[3] / "deploy/vllm_entropy/pellucid_vllm_entropy.py"


class Gathered(NamedTuple):
    """The scores kept by vLLM for each row: the sampled token, then the best tokens."""

    logprob_token_ids: torch.Tensor
    logprobs: torch.Tensor
    selected_token_ranks: torch.Tensor


def gather(logprobs: torch.Tensor, num_logprobs: int, token_ids: torch.Tensor) -> Gathered:
    """Do the same as `Sampler.gather_logprobs`."""
    values, ids = torch.topk(logprobs, num_logprobs, dim=-1)
    own = logprobs.gather(-1, token_ids.unsqueeze(-1))
    return Gathered(
        torch.cat((token_ids.unsqueeze(-1), ids), 1), torch.cat((own, values), 1), (logprobs >= own).sum(-1)
    )


@pytest.fixture(scope="module")
def plugin() -> Any:
    """Return the module of the plugin, without an installation."""
    spec = importlib.util.spec_from_file_location("pellucid_vllm_entropy", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_entropy_has_the_first_place(plugin: Any) -> None:
    """The entropy follows the sampled token, before the alternatives; ranks are larger by 1."""
    logprobs = (
        torch.randn(5, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64).mul(3).log_softmax(-1)
    )
    sampled = torch.tensor([0, 1, 2, 3, 4])
    plain, found = gather(logprobs, 6, sampled), plugin.with_entropy(gather)(logprobs, 6, sampled)
    assert plugin.ENTROPY_ID == ENTROPY_ID
    assert found.logprob_token_ids[:, 0].equal(sampled)
    assert found.logprob_token_ids[:, 1].eq(ENTROPY_ID).all()
    assert found.logprob_token_ids[:, 2:].equal(plain.logprob_token_ids[:, 1:-1])
    assert found.logprobs[:, 2:].equal(plain.logprobs[:, 1:-1])
    assert torch.allclose(-found.logprobs[:, 1], -(logprobs.exp() * logprobs).sum(-1))
    assert found.selected_token_ranks.equal(plain.selected_token_ranks + 1)


def test_no_probability_at_all(plugin: Any) -> None:
    """Impossible tokens add nothing to the entropy."""
    logprobs = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    found = plugin.with_entropy(gather)(logprobs, 2, torch.tensor([0]))
    assert found.logprobs[0, 1].item() == 0.0


def test_no_place_for_it(plugin: Any) -> None:
    """Without requested alternatives nothing is changed."""
    logprobs = torch.zeros(1, 4).log_softmax(-1)
    found = plugin.with_entropy(gather)(logprobs, 0, torch.tensor([2]))
    assert found.logprob_token_ids.tolist() == [[2]]
    assert found.selected_token_ranks.tolist() == [4]


LOGITS = st.lists(st.floats(-30, 30), min_size=2, max_size=60)


@given(LOGITS, st.integers(1, 20))
def test_the_entropy_is_within_its_bounds(logits: list[float], k: int) -> None:
    """The exact entropy is within the bounds, even for logprobs rounded to float32."""
    values = np.array(logits)
    logprobs = values - values.max() - np.log(np.exp(values - values.max()).sum())
    exact = float(-(np.exp(logprobs) * logprobs).sum())
    known = np.sort(logprobs)[::-1][:k].astype(np.float32).tolist()
    least, most = entropy_range(known, known[-1], len(logits))
    assert least - 1e-4 <= exact <= most + 1e-4
    assert least <= most + 1e-9


@given(LOGITS)
def test_a_distribution_that_is_known_has_no_range(logits: list[float]) -> None:
    """If all tokens are known, both bounds are the entropy."""
    values = np.array(logits)
    logprobs = values - values.max() - np.log(np.exp(values - values.max()).sum())
    least, most = entropy_range(logprobs.tolist(), float(logprobs.min()), len(logits))
    assert least == most == pytest.approx(float(-(np.exp(logprobs) * logprobs).sum()), abs=1e-6)


def test_more_alternatives_narrow_the_range() -> None:
    """Each further known token narrows the range."""
    logprobs = np.log(np.arange(50, 0, -1) / np.arange(1, 51).sum()).tolist()
    widths = [most - least for least, most in (entropy_range(logprobs[:k], logprobs[k - 1], 50) for k in range(1, 50))]
    assert all(narrower < wider for wider, narrower in pairwise(widths))
