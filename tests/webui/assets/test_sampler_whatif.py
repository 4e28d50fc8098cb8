"""Tests the page's what-if against the server's sampler."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.engine.decoders.torch_model import score_rows
from pellucid.engine.sampler import Sampler, token_scores, truncate
from pellucid.vocabulary.query import SamplingParams
from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.conversations.compact_tokens import record
from support.node_modules import in_node
from support.page.heat_page import Record

KEPT = 10
"""Number of alternatives of a token."""

CLOSE = 1e-4
"""Tolerance for exact numbers of JavaScript."""

Settings = dict[str, float]

OFF: Settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}

OWN: list[Settings] = [
    {"temperature": temperature, **truncation}
    for temperature, truncation in product(
        (0.3, 0.7, 1.0, 1.5),
        (
            {"top_k": 0, "top_p": 1.0, "min_p": 0.0},
            {"top_k": 0, "top_p": 0.9, "min_p": 0.0},
            {"top_k": 5, "top_p": 1.0, "min_p": 0.0},
            {"top_k": 40, "top_p": 0.95, "min_p": 0.0},
            {"top_k": 0, "top_p": 0.95, "min_p": 0.05},
            {"top_k": 0, "top_p": 1.0, "min_p": 0.2},
            {"top_k": 30, "top_p": 0.8, "min_p": 0.01},
        ),
    )
]

WANTED: list[Settings] = [*OWN, {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}]


@dataclass(frozen=True)
class Draw:
    """A choice of the real sampler, with the token's record."""

    logits: Tensor
    own: Settings
    record: Record

    def truth(self, settings: Settings) -> dict[int, float]:
        """Return the probability of each token in the sampler at ``settings``."""
        if settings["temperature"] == 0:
            return {int(self.logits.argmax()): 1.0}
        scaled = (self.logits / settings["temperature"]).numpy()
        ids, weights = truncate(scaled, int(settings["top_k"]), settings["top_p"], settings["min_p"])
        shares = (weights / weights.sum(dtype=np.float64)).tolist()
        return dict(zip(range(len(shares)) if ids is None else ids.tolist(), shares, strict=True))


def draw(seed: int, own: Settings) -> Draw:
    """Return a token drawn from random logits: peaked or flat, with a small or large vocabulary."""
    random = torch.Generator().manual_seed(seed)
    vocabulary = int(torch.randint(40, 4000, (), generator=random))
    scale = (0.7, 2.0, 4.0)[seed % 3]
    logits = torch.randn(vocabulary, generator=random) * scale
    sampler = Sampler(SamplingParams(seed=seed, top_logprobs=KEPT, **own), [], None)  # type: ignore[arg-type]
    id, probability, *_ = sampler.choose(logits.numpy())
    score = token_scores(score_rows(logits[None], torch.tensor([id]), KEPT), [0])[0]
    top = tuple(Alternative(one, f"t{one}", f"t{one}".encode(), logprob) for one, logprob in score.top)
    return Draw(
        logits,
        own,
        record(
            Token(
                id,
                f"t{id}",
                f"t{id}".encode(),
                0,
                score.logprob,
                score.rank,
                score.entropy,
                top,
                score.rest,
                probability,
            )
        ),
    )


def weigh(cases: list[tuple[Record, Settings, Settings | None]]) -> list[dict[str, Any]]:
    """Return the page's results for each of (record, settings, own settings)."""
    found: list[dict[str, Any]] = in_node(
        'import { weigh } from "assets/tokens/sampler_whatif.js";',
        "cases => cases.map(([record, settings, own]) => weigh(record, settings, own))",
        [list(case) for case in cases],
    )
    return found


def bounded(found: dict[str, Any], true: float) -> bool:
    interval = found["probability"]
    return bool(interval["low"] - CLOSE <= true <= interval["high"] + CLOSE)


DRAWS = [draw(seed, own) for seed, own in enumerate(OWN * 3)]


def test_own_settings() -> None:
    """At the server's own settings, a token and its alternatives have the sampled probability.

    Rounding decides whether very unlikely alternatives are kept, in the server as in the page: the
    page marks these alternatives as unsure.
    """
    for one, found in zip(DRAWS, weigh([(one.record, one.own, one.own) for one in DRAWS]), strict=True):
        truth = one.truth(one.own)
        assert found["chosen"]["probability"]["middle"] == pytest.approx(truth[one.record["i"]], abs=CLOSE)
        assert found["chosen"]["probability"]["middle"] == pytest.approx(one.record["s"], abs=CLOSE)
        assert found["chosen"]["kept"]
        for alternative, verdict in zip(one.record["a"], found["alternatives"], strict=True):
            assert verdict["probability"]["middle"] == pytest.approx(truth.get(alternative[0], 0.0), abs=CLOSE)
            assert verdict["kept"] == (alternative[0] in truth) or not verdict["sure"], (one.own, alternative, verdict)
            assert verdict["sure"] or verdict["probability"]["high"] < 1e-3
        listed = sum(truth.get(alternative[0], 0.0) for alternative in one.record["a"])
        assert found["rest"]["middle"] == pytest.approx(1 - listed, abs=CLOSE)


def test_own_settings_from_the_alternatives() -> None:
    """With all kept tokens as alternatives, the sampled probability changes nothing."""
    whole = [one for one in DRAWS if len(one.truth(one.own)) <= KEPT]
    assert len(whole) > 12
    for one, found in zip(whole, weigh([(one.record, one.own, None) for one in whole]), strict=True):
        chosen = found["chosen"]
        if all(verdict["sure"] for verdict in found["alternatives"]):
            assert chosen["kept"]
            assert chosen["probability"]["middle"] == pytest.approx(one.record["s"], abs=CLOSE)
        assert bounded(chosen, one.record["s"])


def check(page_says: list[dict[str, Any]], cases: list[tuple[Draw, Settings]]) -> None:
    """Assert that bounds contain the true probabilities, and that sure verdicts are true."""
    for (one, wanted), weighed in zip(cases, page_says, strict=True):
        truth = one.truth(wanted)
        others = zip((it[0] for it in one.record["a"]), weighed["alternatives"], strict=True)
        for id, verdict in ((one.record["i"], weighed["chosen"]), *others):
            assert bounded(verdict, truth.get(id, 0.0)), (one.record, wanted, id, truth.get(id), verdict)
            if verdict["sure"]:
                assert verdict["kept"] == (id in truth), (one.record, wanted, id, verdict)


@pytest.mark.parametrize("knows", [True, False], ids=["sampled", "read"])
def test_bounds(knows: bool) -> None:
    """At other settings, bounds contain the true probabilities, and sure verdicts are true."""
    cases = [(one, wanted) for one in DRAWS[knows::10] for wanted in WANTED]
    found = weigh([(one.record, wanted, one.own if knows else None) for one, wanted in cases])
    sure = [verdict["sure"] for weighed in found for verdict in weighed["alternatives"]]
    assert sum(sure) > 0.9 * len(sure), "bounds that leave everything open tell nothing"
    check(found, cases)


@pytest.mark.parametrize("width", [0.1, 2.0])
def test_bounds_from_a_range_of_entropies(width: float) -> None:
    """With only a range of the entropy, the bounds still contain the true probabilities."""
    cases = [(one, wanted) for one in DRAWS[int(width) :: 14] for wanted in WANTED]

    def blurred(at: int, one: Draw) -> Record:
        low = max(one.record["e"] - width * (at % 5) / 4, 0)
        return one.record | {"e": None, "h": [low, low + width]}

    check(weigh([(blurred(at, one), wanted, None) for at, (one, wanted) in enumerate(cases)]), cases)


def test_exact_at_one() -> None:
    """At temperature 1 nothing is estimated: the mass of the other tokens is known."""
    for one, found in zip(DRAWS, weigh([(one.record, OFF, None) for one in DRAWS]), strict=True):
        truth = one.truth(OFF)
        for alternative, verdict in zip(one.record["a"], found["alternatives"], strict=True):
            assert verdict["probability"]["middle"] == pytest.approx(truth[alternative[0]], abs=CLOSE)
            assert verdict["kept"]
            assert verdict["sure"]


def test_greedy() -> None:
    """At temperature 0 the first choice is certain and all other tokens are dropped."""
    settings = {**OFF, "temperature": 0.0, "top_p": 0.5}
    for one, found in zip(DRAWS, weigh([(one.record, settings, one.own) for one in DRAWS]), strict=True):
        assert [verdict["kept"] for verdict in found["alternatives"]] == [True] + [False] * (KEPT - 1)
        assert found["alternatives"][0]["probability"]["middle"] == 1
        assert found["chosen"]["kept"] == (one.record["r"] == 1)
        assert found["rest"]["high"] == 0


def test_server_was_greedy() -> None:
    """A greedy answer's certainty implies nothing for other temperatures: bounds stay bounds."""
    own = {**OFF, "temperature": 0.0}
    greedy = [draw(seed, own) for seed in range(30)]
    warm = {**OFF, "temperature": 0.8}
    for one, found in zip(greedy, weigh([(one.record, warm, own) for one in greedy]), strict=True):
        assert bounded(found["chosen"], one.truth(warm)[one.record["i"]])
    for found in weigh([(one.record, own, own) for one in greedy]):
        assert found["chosen"]["probability"]["middle"] == 1


def test_crossing_token_stays() -> None:
    """The nucleus includes the token with which it reaches top-p, and no later token."""
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    score = token_scores(score_rows(logits[None], torch.tensor([0]), 4), [0])[0]
    top = tuple(Alternative(id, "x", b"x", logprob) for id, logprob in score.top)
    one = record(Token(0, "x", b"x", 0, score.logprob, score.rank, score.entropy, top, score.rest))
    for top_p, kept in ((0.4, 1), (0.6, 2), (0.79, 2), (0.81, 3), (0.96, 4)):
        (found,) = weigh([(one, {**OFF, "top_p": top_p}, None)])
        assert [verdict["kept"] for verdict in found["alternatives"]] == [True] * kept + [False] * (4 - kept)


def test_rounded_whole() -> None:
    """Tokens dropped by a truncating server after a rounded total of 1 are unsure on the page."""
    logits = torch.tensor([20.0, 0.0, -1.0, -2.0])
    score = token_scores(score_rows(logits[None], torch.tensor([0]), 4), [0])[0]
    top = tuple(Alternative(id, "x", b"x", logprob) for id, logprob in score.top)
    one = record(Token(0, "x", b"x", 0, score.logprob, score.rank, score.entropy, top, score.rest))
    assert len(truncate(logits.numpy(), 3, 1.0, 0.0)[1]) == 1
    (found,) = weigh([(one, {**OFF, "top_k": 3}, None)])
    assert [verdict["sure"] for verdict in found["alternatives"]] == [True, False, False, True]
    assert [verdict["kept"] for verdict in found["alternatives"]] == [True, True, True, False]


def test_nothing_known() -> None:
    """A token without a probability has no what-if."""
    unknown = record(Token(1, "a", b"a", 0, None, None, None))
    assert weigh([(unknown, OFF, None)]) == [None]
