"""Tests of a review's results: win rates, reasons and sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pellucid_webui.conversations.storage.blind_reviews import AnswerPair, Judgement, Review, Verdict
from pellucid_webui.inspection.blind_review_results import results, sentences, table

A, B, BOTH, NEITHER = Verdict

REVIEW = Review("r", "large, greedy", "small, greedy", tuple(AnswerPair(f"prompt {n}", "1", "2") for n in range(40)))


def judged(rater: str, *verdicts: Verdict, reasons: tuple[str, ...] = ()) -> list[Judgement]:
    return [Judgement(pair, rater, verdict, reasons) for pair, verdict in enumerate(verdicts)]


def test_no_verdicts() -> None:
    """There are no results before the first verdict."""
    found = results(REVIEW, [])
    assert (found.judged, found.win_rate, found.better) == (0, None, None)


def test_win_rate() -> None:
    """A tie is half a win for each side, and a pair counts once for all raters."""
    found = results(REVIEW, [*judged("ann", A, A, B, BOTH), *judged("bob", B)])
    assert found.judged == 4
    assert found.win_rate is not None
    assert found.win_rate.value == pytest.approx((0.5 + 1 + 0 + 0.5) / 4)
    assert found.verdicts == {A: 2, B: 2, BOTH: 1, NEITHER: 0}


def test_better_only_where_it_is_sure() -> None:
    """A side is better only if the interval excludes one half."""
    assert results(REVIEW, judged("ann", *[A] * 30, *[B] * 5)).better is A
    assert results(REVIEW, judged("ann", *[A] * 5, *[B] * 30)).better is B
    assert results(REVIEW, judged("ann", *[A] * 6, *[B] * 5)).better is None
    assert results(REVIEW, judged("ann", A, A, A)).better is None
    of_one_prompt = replace(REVIEW, pairs=REVIEW.pairs[:1] * 40)
    assert results(of_one_prompt, judged("ann", *[A] * 40)).better is None


def test_reasons() -> None:
    """Reasons are counted for the side that wins."""
    of_ann, of_bob = judged("ann", A, A, BOTH, reasons=("clearer",)), judged("bob", B, reasons=("shorter", "clearer"))
    found = results(REVIEW, [*of_ann, *of_bob])
    assert found.reasons == {A: {"clearer": 2}, B: {"shorter": 1, "clearer": 1}}


def test_words() -> None:
    """The sentences name the sides and the winner; the table has each verdict with its reasons."""
    assert sentences(REVIEW, results(REVIEW, []))[1:] == ["B: small, greedy", "0 of 40 pairs have been judged."]
    found = results(REVIEW, judged("ann", *[A] * 30, *[B] * 5, reasons=("clearer",)))
    assert sentences(REVIEW, found) == [
        "A: large, greedy",
        "B: small, greedy",
        "35 of 40 pairs have been judged.",
        "A wins 85.7 % (95 % interval 70.6 % to 93.7 %); a tie counts as half a win.",
        "A is better.",
    ]
    assert table(found)[:3] == [
        ["verdict", "times", "reasons"],
        ["A is better", "30", "clearer (30)"],
        ["B is better", "5", "clearer (5)"],
    ]
