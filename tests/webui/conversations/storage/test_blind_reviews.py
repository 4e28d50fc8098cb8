"""Tests saved blind reviews, and the Review tab."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from pellucid.door.api_keys import LOCAL
from pellucid.errors import InvalidRequestError, NotFoundError, PellucidError
from pellucid_webui.conversations.storage.blind_reviews import (
    AnswerPair,
    Judgement,
    Review,
    Reviews,
    Verdict,
    next_pair,
)
from pellucid_webui.routes.review import NO_RATER, ReviewRoute

REVIEW = Review(
    "first",
    "big, greedy",
    "small, greedy",
    tuple(AnswerPair(f"prompt {n}", f"a says {n}", f"b says {n}") for n in range(20)),
)


@pytest.fixture
def reviews(tmp_path: Path) -> Reviews:
    """Provide a folder with a single review."""
    found = Reviews(tmp_path / "reviews", clock=lambda: 7.0)
    found.create(REVIEW)
    return found


class TestReviews:
    def test_kept(self, reviews: Reviews) -> None:
        """A saved review is read back unchanged, and listed by name."""
        reviews.create(second := replace(REVIEW, name="second of two"))
        assert reviews.names() == ["first", "second of two"]
        assert [reviews.find(name) for name in reviews.names()] == [REVIEW, second]

    def test_the_last_word_holds(self, reviews: Reviews) -> None:
        """The latest judgement of each rater on a pair counts."""
        for pair, rater, verdict in [
            (1, "ann", Verdict.A),
            (0, "bob", Verdict.NEITHER),
            (1, "ann", Verdict.B),
            (1, "bob", Verdict.BOTH),
        ]:
            reviews.judge("first", Judgement(pair, rater, verdict, ("clearer",), "hm"))
        assert reviews.judgements("first") == [
            Judgement(0, "bob", Verdict.NEITHER, ("clearer",), "hm", 7.0),
            Judgement(1, "ann", Verdict.B, ("clearer",), "hm", 7.0),
            Judgement(1, "bob", Verdict.BOTH, ("clearer",), "hm", 7.0),
        ]

    def test_killed_within_a_line(self, reviews: Reviews, tmp_path: Path) -> None:
        """Half a line left by a killed process affects no other line."""
        reviews.judge("first", Judgement(0, "ann", Verdict.A))
        with (tmp_path / "reviews" / "first.judgements.jsonl").open("ab") as file:
            file.write(b'\n{"pair": 1, "rater": "a')
        reviews.judge("first", Judgement(2, "ann", Verdict.B))
        assert [(one.pair, one.verdict) for one in reviews.judgements("first")] == [(0, Verdict.A), (2, Verdict.B)]

    @pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a ", "a\nb", "x" * 65])
    def test_bad_name(self, reviews: Reviews, name: str) -> None:
        """A review's name is not a path: nothing outside the folder is read."""
        with pytest.raises(InvalidRequestError, match="is not a valid name for a review"):
            reviews.find(name)

    def test_refused(self, reviews: Reviews) -> None:
        """Taken names, unknown names, unknown pairs and empty reviews are refused in a sentence."""
        with pytest.raises(InvalidRequestError, match="A review named 'first' exists already"):
            reviews.create(REVIEW)
        with pytest.raises(NotFoundError, match=r"There is no review named 'second'\. Existing reviews: first"):
            reviews.find("second")
        with pytest.raises(InvalidRequestError, match="has no prompts"):
            reviews.create(Review("empty", "a", "b", ()))
        with pytest.raises(InvalidRequestError, match="has no pair 21"):
            reviews.judge("first", Judgement(20, "ann", Verdict.A))

    def test_taken_meanwhile(self, reviews: Reviews) -> None:
        """Of simultaneous reviews with one name, a single one is created and kept."""
        together = Barrier(4)

        def create(model: str) -> str:
            together.wait()
            with suppress(PellucidError):
                reviews.create(Review("second", model, "b", (AnswerPair("why?", "a" * 500_000, "b"),)))
                return model
            return ""

        with ThreadPoolExecutor(4) as threads:
            created = list(filter(None, threads.map(create, "abcd")))
        assert created == [reviews.find("second").a]

    def test_damaged(self, reviews: Reviews, tmp_path: Path) -> None:
        """A damaged file is reported with the name and the damage."""
        (tmp_path / "reviews" / "first.judgements.jsonl").write_text('{"pair": "x"}')
        with pytest.raises(PellucidError, match=r"first\.judgements\.jsonl is damaged \(pair: "):
            reviews.judgements("first")
        (tmp_path / "reviews" / "first.json").write_text("{}")
        with pytest.raises(PellucidError, match=r"first\.json is damaged"):
            reviews.find("first")

    def test_unwritable(self, reviews: Reviews, tmp_path: Path) -> None:
        """A failed write is reported, and earlier judgements are unchanged."""
        reviews.judge("first", Judgement(0, "ann", Verdict.A))
        path = tmp_path / "reviews" / "first.judgements.jsonl"
        kept = path.read_bytes()
        path.unlink()
        path.mkdir()
        with pytest.raises(PellucidError, match="cannot be written"):
            reviews.judge("first", Judgement(1, "ann", Verdict.A))
        path.rmdir()
        path.write_bytes(kept)
        assert len(reviews.judgements("first")) == 1

    @pytest.mark.skipif(os.name != "posix", reason="permissions are another matter there")
    def test_private(self, tmp_path: Path) -> None:
        """Only the owner can read prompts, answers and notes, for any umask and earlier mode."""
        before = os.umask(0)
        try:
            reviews = Reviews(tmp_path / "reviews")
            reviews.create(REVIEW)
            (tmp_path / "reviews" / "first.judgements.jsonl").touch(mode=0o644)
            reviews.judge("first", Judgement(0, "ann", Verdict.A))
        finally:
            os.umask(before)
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in [tmp_path / "reviews", *(tmp_path / "reviews").iterdir()]
        }
        assert modes == {"reviews": 0o700, "first.json": 0o600, "first.judgements.jsonl": 0o600}


def test_sides() -> None:
    """The left answer is stable, differs between pairs and raters, and favours neither side."""
    lefts = [REVIEW.is_a_left(pair, rater) for rater in map(str, range(100)) for pair in range(20)]
    assert lefts == [REVIEW.is_a_left(pair, rater) for rater in map(str, range(100)) for pair in range(20)]
    assert 0.45 < sum(lefts) / len(lefts) < 0.55
    assert len({tuple(lefts[start : start + 20]) for start in range(0, 2000, 20)}) == 100


def test_next_pair() -> None:
    """A rater continues with the first pair not yet judged by this rater."""
    judged = [Judgement(0, "ann", Verdict.A), Judgement(1, "bob", Verdict.A), Judgement(2, "ann", Verdict.A)]
    assert (next_pair(REVIEW, judged, "ann"), next_pair(REVIEW, judged, "bob"), next_pair(REVIEW, [], "ann")) == (
        1,
        0,
        0,
    )
    assert next_pair(REVIEW, [Judgement(n, "ann", Verdict.A) for n in range(20)], "ann") is None


async def act(reviews: Reviews, owner: str = LOCAL, **event: Any) -> dict[str, Any]:
    return await anext(ReviewRoute(reviews).act(owner, event))


class TestReviewRoute:
    async def test_nothing_there(self, tmp_path: Path) -> None:
        """Without a review there is nothing to rate, and nothing wrong."""
        shown = await act(Reviews(tmp_path))
        assert (shown["status"], shown["wrong"], shown["pair"], shown["names"]) == ("", False, None, [])

    async def test_what_was_chosen_is_whose_it_was(self, reviews: Reviews) -> None:
        """A's answer earns a's verdict on either side, and the payload names no model."""
        for number in range(20):
            shown = await act(reviews, verb="look", review="first", rater="ann")
            assert shown["pair"] == number
            assert "greedy" not in str(shown)
            side = next(side for side in ("left", "right") if "a says" in str(shown[side]))
            await act(
                reviews,
                verb="judge",
                review="first",
                rater="ann",
                pair=number,
                verdict=side,
                reasons=["clearer", "prettier"],
            )
        assert {(one.verdict, one.reasons) for one in reviews.judgements("first")} == {(Verdict.A, ("clearer",))}
        shown = await act(reviews, verb="look", review="first", rater="ann")
        assert shown["status"] == "You have judged all 20 pairs."
        assert shown["results"]["sentences"][:2] == ["A: big, greedy", "B: small, greedy"]

    @pytest.mark.parametrize(
        "event", [{}, {"verb": "look", "review": "first", "rater": " "}, {"verb": "show", "review": "first", "pair": 3}]
    )
    async def test_no_pair_without_a_rater(self, reviews: Reviews, event: dict[str, Any]) -> None:
        """A rater without a name is asked for a name, and sees no pair."""
        shown = await act(reviews, **event)
        assert (shown["status"], shown["wrong"], shown["pair"], shown["review"]) == (NO_RATER, False, None, "first")
        assert "says" not in str(shown)

    async def test_go_back(self, reviews: Reviews) -> None:
        """A rater can go back to a pair, sees the earlier verdict, and can change the verdict."""
        await act(
            reviews,
            verb="judge",
            review="first",
            rater="ann",
            pair=0,
            verdict="left",
            reasons=["shorter"],
            note="brief",
        )
        shown = await act(reviews, verb="show", review="first", rater="ann", pair=0)
        assert (shown["pair"], shown["chosen"], shown["given"], shown["note"]) == (0, "left", ["shorter"], "brief")
        await act(reviews, verb="judge", review="first", rater="ann", pair=0, verdict="both", reasons=5)
        assert [one.verdict for one in reviews.judgements("first")] == [Verdict.BOTH]

    async def test_who_has_logged_in_is_the_rater(self, reviews: Reviews) -> None:
        """With a login, a user can judge only in the own name."""
        shown = await act(reviews, "bob", verb="judge", review="first", rater="ann", pair=0, verdict="left")
        assert (shown["rater"], shown["isLoggedIn"], shown["pair"]) == ("bob", True, 0)
        assert reviews.judgements("first") == []
        await act(reviews, "bob", verb="judge", review="first", rater="bob", pair=0, verdict="left")
        assert [one.rater for one in reviews.judgements("first")] == ["bob"]

    @pytest.mark.parametrize(
        ("event", "reported"),
        [
            ({"rater": " ", "pair": 0, "verdict": "left"}, "Enter your name first"),
            ({"rater": "x" * 65, "pair": 0, "verdict": "left"}, "A name has at most 64 characters"),
            ({"rater": "\x1b[2J", "pair": 0, "verdict": "left"}, "no control characters"),
            ({"rater": "ann", "pair": None, "verdict": "left"}, "did not send which pair"),
            ({"rater": "ann", "pair": 99, "verdict": "left"}, "has no pair 100"),
            ({"rater": "ann", "pair": 0, "verdict": "up"}, "'up' is not a verdict"),
            ({"rater": "ann", "pair": 0, "verdict": "left", "review": "gone"}, "There is no review named 'gone'"),
        ],
    )
    async def test_refused(self, reviews: Reviews, event: dict[str, Any], reported: str) -> None:
        """An invalid verdict is reported in the tab, and nothing is saved."""
        shown = await act(reviews, **{"verb": "judge", "review": "first"} | event)
        assert reported in shown["status"]
        assert shown["wrong"]
        assert reviews.judgements("first") == []
