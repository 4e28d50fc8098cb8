"""The scores of a token, and the choice of the next token."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.engine.decoders.torch_model import score_rows
from pellucid.engine.masked_row import mask_row
from pellucid.engine.model import Logprobs
from pellucid.engine.native.calls import Kernels
from pellucid.engine.sampler import Sampler, token_scores, truncate
from pellucid.engine.token_mask import TokenMask, fitted, ids_in, pack_ids
from pellucid.engine.token_scores import MOST_PROBABLE, TokenScore
from pellucid.vocabulary.query import SamplingParams


class Only:
    """A constraint with a fixed set of allowed ids and a record of the chosen ids."""

    def __init__(self, *ids: int, hides_refused: bool = True) -> None:
        self.hides_refused = hides_refused
        self.mask = pack_ids(ids, 8)
        self.chosen: list[int] = []

    def allowed(self) -> TokenMask:
        return self.mask

    def forced(self) -> list[int]:
        return []

    def advance(self, id: int) -> None:
        self.chosen.append(id)


def floats(*values: float) -> Logprobs:
    return np.array(values, np.float32)


def log(*probabilities: float) -> Logprobs:
    """Return the logits of a distribution."""
    return np.log(floats(*probabilities))


def score(logits: Logprobs, id: int, top: int, position: int) -> TokenScore:
    (score,) = token_scores(score_rows(torch.from_numpy(logits[None]), torch.tensor([id]), top), [position])
    return score


def survivors(logits: Logprobs, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> list[int]:
    ids, weights = truncate(logits, top_k, top_p, min_p)
    return list(range(len(weights))) if ids is None else ids.tolist()


class TestDescribe:
    def test_figures(self) -> None:
        """Logprob, rank, entropy, alternatives and rest are computed from the distribution."""
        probabilities = (0.125, 0.5, 0.125, 0.25)
        found = score(log(*probabilities) + np.float32(3.0), 3, 2, 7)
        assert found.position == 7
        assert found.logprob == pytest.approx(math.log(0.25), abs=1e-6)
        assert found.rank == 2
        assert found.entropy == pytest.approx(-sum(p * math.log(p) for p in probabilities), abs=1e-6)
        assert [id for id, _ in found.top] == [1, 3]
        assert [math.exp(logprob) for _, logprob in found.top] == pytest.approx([0.5, 0.25])
        assert found.rest == pytest.approx(0.25)

    def test_the_most_probable_id_need_not_be_named(self) -> None:
        """MOST_PROBABLE stands in for the most probable id."""
        found = score(log(0.1, 0.2, 0.7), MOST_PROBABLE, 1, 1)
        assert (found.id, found.rank) == (2, 1)
        assert found.logprob == found.top[0][1] == pytest.approx(math.log(0.7))

    def test_no_alternatives(self) -> None:
        """Without alternatives the rest is 1."""
        found = score(log(0.5, 0.5), 0, 0, 1)
        assert (found.top, found.rest) == ((), 1.0)


class TestTruncate:
    @pytest.mark.parametrize(
        ("top_k", "top_p", "min_p", "expected"),
        [
            (0, 1.0, 0.0, [0, 1, 2, 3]),
            (2, 1.0, 0.0, [1, 3]),
            (0, 0.5, 0.0, [1]),
            (0, 0.51, 0.0, [1, 3]),
            (0, 1e-9, 0.0, [1]),
            (0, 1.0, 0.5, [1, 3]),
            (0, 1.0, 1.0, [1]),
            (3, 0.9, 0.3, [1, 3]),
        ],
    )
    def test_survivors(self, top_k: int, top_p: float, min_p: float, expected: list[int]) -> None:
        """Each truncation keeps the defined tokens, and always the most probable token."""
        assert survivors(log(0.12, 0.5, 0.08, 0.3), top_k, top_p, min_p) == expected

    @pytest.mark.slow
    @given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.999))
    def test_nucleus_is_the_smallest_set(self, seed: int, top_p: float) -> None:
        """Top-p is the smallest set with mass p even for a large flat vocabulary."""
        logits = torch.randn(3000, generator=torch.Generator().manual_seed(seed))
        kept = len(survivors(logits.numpy(), top_p=top_p))
        mass = logits.double().softmax(0).sort(descending=True).values.cumsum(0)
        assert mass[kept - 1] >= top_p - 1e-6
        assert kept == 1 or mass[kept - 2] < top_p + 1e-6


class TestSampler:
    def test_frequencies(self) -> None:
        """Drawn tokens follow the distribution, and have the probability of the draw."""
        sampler = Sampler(SamplingParams(temperature=1.0, seed=1), [], None)
        drawn = Counter(sampler.choose(log(0.1, 0.2, 0.7))[:2] for _ in range(4000))
        for id, probability in enumerate((0.1, 0.2, 0.7)):
            (key,) = [key for key in drawn if key[0] == id]
            assert key[1] == pytest.approx(probability, abs=1e-6)
            assert drawn[key] / 4000 == pytest.approx(probability, abs=0.03)

    def test_temperature(self) -> None:
        """Temperature divides the logits before any truncation."""
        sampler = Sampler(SamplingParams(temperature=0.5, top_k=1, seed=1), [], None)
        assert sampler.choose(log(0.2, 0.8))[:2] == (1, 1.0)
        sampler = Sampler(SamplingParams(temperature=0.5, seed=1), [], None)
        id, probability, *_ = sampler.choose(log(0.2, 0.8))
        assert probability == pytest.approx([0.04 / 0.68, 0.64 / 0.68][id])

    def test_repetition_penalty_counts_the_prompt(self) -> None:
        """A penalty divides positive logits of prompt tokens, and multiplies negative logits."""
        sampler = Sampler(SamplingParams(repetition_penalty=2.0), [0, 2], None)
        assert sampler.choose(floats(3.0, 2.0, -1.0))[:2] == (1, 1.0)
        assert sampler.choose(floats(-9.0, 2.0, -1.0))[:2] == (1, 1.0)

    def test_presence_and_frequency_count_the_answer(self) -> None:
        """Presence is subtracted once, frequency for each time a token was generated."""
        sampler = Sampler(SamplingParams(presence_penalty=0.5, frequency_penalty=0.5), [1, 1, 1], None)
        logits = floats(0.0, 1.2, 0.0)
        assert [sampler.choose(logits)[0] for _ in range(3)] == [1, 1, 0]

    def test_logit_bias(self) -> None:
        """A bias is added to the token's logit."""
        assert Sampler(SamplingParams(logit_bias={2: 5.0}), [], None).choose(floats(0.0, 0.0, 0.0))[:2] == (2, 1.0)

    def test_constraint(self) -> None:
        """Only allowed tokens are drawn, and the constraint advances over the drawn tokens."""
        only = Only(0, 2)
        sampler = Sampler(SamplingParams(temperature=1.0, seed=3), [], only)
        drawn = [sampler.choose(log(0.1, 0.8, 0.1)) for _ in range(20)]
        assert {choice.id for choice in drawn} == {0, 2}
        assert all(choice.sampled == pytest.approx(0.5) for choice in drawn)
        assert only.chosen == [choice.id for choice in drawn]

    def test_constraint_is_scored(self) -> None:
        """A constrained choice has a logprob and alternatives relative to the allowed tokens."""
        choice = Sampler(SamplingParams(top_logprobs=2, logit_bias={2: 9.0}), [], Only(0, 2, 3)).choose(
            log(0.1, 0.6, 0.05, 0.25)
        )
        assert choice.id == 2
        assert choice.limits is not None
        assert choice.limits.size == 3
        assert math.exp(choice.limits.logprob) == pytest.approx(0.05 / 0.4)
        assert choice.limits.top is not None
        assert [id for id, _ in choice.limits.top] == [3, 0]
        assert [math.exp(relative) for _, relative in choice.limits.top] == pytest.approx([5, 2])
        assert Sampler(SamplingParams(top_logprobs=2), [], None).choose(log(0.5, 0.5)).limits is None
        shown = Sampler(SamplingParams(top_logprobs=2), [], Only(0, 2, hides_refused=False)).choose(log(0.1, 0.6, 0.3))
        assert shown.limits is not None
        assert (shown.id, shown.limits.size, shown.limits.top) == (2, 2, None)

    def test_a_constraint_without_possible_tokens_fails(self) -> None:
        """If no allowed token is possible, the sampler raises an error."""
        with pytest.raises(ValueError, match="allows no token"):
            Sampler(SamplingParams(), [], Only(7)).choose(log(0.5, 0.5))

    def test_logits_are_left_alone(self) -> None:
        """Sampling does not change the raw logits, because scores are computed later."""
        logits = floats(1.0, 2.0)
        Sampler(SamplingParams(logit_bias={0: 5.0}, repetition_penalty=2.0), [1], None).choose(logits)
        assert logits.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"min_p": 2}, {"top_k": -1}, {"max_tokens": -1}, {"seed": -1},
     {"top_logprobs": 21}, {"temperature": math.nan}, {"temperature": 1e-50}, {"repetition_penalty": 1e-39},
     {"logit_bias": {3: 101.0}}],
)  # fmt: skip
def test_impossible_params(wrong: dict[str, int]) -> None:
    """A parameter out of range is refused by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SamplingParams(**wrong)  # type: ignore[arg-type]


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
    row = mask_row(floats(1.0, 5.0, 3.0, 3.0), pack_ids([0, 2, 3], 4))
    assert row.logits is not None
    assert row.logits.tolist() == [1.0, -math.inf, 3.0, 3.0]
    assert (row.best, row.size) == (2, 3)
    assert row.total == pytest.approx(math.log(math.e + 2 * math.e**3))


def test_the_kernel_agrees(built: Kernels) -> None:
    """The native kernel gives the result of numpy, bit by bit for the logits."""
    for vocab, share in itertools.product([1, 31, 32, 97, 128, 1000, 5003], [0.0, 0.01, 0.5, 0.99, 1.0]):
        random = np.random.default_rng(vocab)
        logits = random.standard_normal(vocab, np.float32) * 8
        allowed = {vocab - 1} | set(np.flatnonzero(random.random(vocab) < share).tolist())
        mask = pack_ids(allowed, vocab)
        expected, actual = mask_row(logits, mask), built.mask_row(logits, mask)
        assert actual.logits is not None
        assert expected.logits is not None
        assert np.array_equal(actual.logits, expected.logits)
        assert built.mask_row(logits, mask, keep=False) == (None, *actual[1:])
        assert (actual.best, actual.size) == (expected.best, expected.size)
        assert actual.total == pytest.approx(float(torch.from_numpy(expected.logits).double().logsumexp(0)), abs=1e-5)


def test_targets_agree(built: Kernels, folder: Path) -> None:
    """The portable code gives the same result."""
    logits, mask = np.random.default_rng(0).standard_normal(777, np.float32), np.arange(25, dtype=np.int32) * 7919 + 1
    portable = Kernels("portable", folder=folder).mask_row(logits, mask)
    native = built.mask_row(logits, mask)
    assert portable.logits is not None
    assert native.logits is not None
    assert np.array_equal(portable.logits, native.logits)
    assert (portable.best, portable.size) == (native.best, native.size)
    assert portable.total == pytest.approx(native.total, abs=1e-5)


def test_impossible_sets_fail(built: Kernels) -> None:
    """An empty set, and a set of impossible tokens, raise an error in both implementations."""
    for mask, logits in ((pack_ids([], 3), floats(0.0, 0.0, 0.0)), (pack_ids([1], 3), floats(0.0, -math.inf, 0.0))):
        for masked in (mask_row, built.mask_row):
            with pytest.raises(ValueError, match="allows no token"):
                masked(logits, mask)
