"""Tests of raters' agreement, and of the prompts of a new review."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score

from pellucid.config import load_settings
from pellucid.errors import InvalidRequestError
from pellucid.learn.review.command import make, read_prompts
from pellucid.learn.review.rater_agreement import agreements, cohens_kappa
from pellucid.vocabulary.query import SamplingParams
from pellucid_webui.conversations.storage.blind_reviews import Judgement, Verdict

A, B, BOTH, NEITHER = Verdict


def judged(rater: str, *verdicts: Verdict) -> list[Judgement]:
    return [Judgement(pair, rater, verdict) for pair, verdict in enumerate(verdicts)]


def test_agreement() -> None:
    """Agreement covers the pairs that both raters judged, and kappa is scikit-learn's."""
    ann, bob = [A, A, B, B, BOTH, A] * 2, [*[A, B, B, B, BOTH, NEITHER] * 2, A]
    found = agreements([*judged("ann", *ann), *judged("bob", *bob)])
    assert [(one.raters, one.pairs) for one in found] == [(("ann", "bob"), 12)]
    assert found[0].same == pytest.approx(4 / 6)
    assert found[0].kappa is not None
    assert found[0].kappa.value == pytest.approx(cohen_kappa_score(ann, bob[:12]))
    assert found[0].kappa.low <= found[0].kappa.value <= found[0].kappa.high


def test_agreement_by_chance_alone() -> None:
    """Kappa is undefined if two raters always give the same verdict."""
    found = agreements([*judged("ann", *[A] * 20), *judged("bob", *[A] * 20)])
    assert (found[0].same, found[0].kappa) == (1.0, None)
    assert math.isnan(cohens_kappa([0, 0], [0, 0]))


class TestPrompts:
    def test_a_line_each(self, tmp_path: Path) -> None:
        """A file has a prompt on each line that is not empty, or JSON lines with longer prompts."""
        path = tmp_path / "prompts"
        path.write_text("one\n\ntwo\n")
        assert read_prompts(path) == ["one", "two"]
        path.write_text('{"prompt": "a\\nb"}\n{"prompt": "c", "more": 1}\n')
        assert read_prompts(path) == ["a\nb", "c"]

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (b"", "contains no prompt"),
            (b"\xff\xfe", "is not UTF-8 text"),
            (b'{"prompt": "a"}\n{"promt": "b"}', "Line 2 of .* has no prompt"),
            (b'{"prompt": "a"}\n{"prompt', "Line 2 of .* has no prompt"),
            (b'{"prompt": " "}', "Line 1 of .* has no prompt"),
        ],
    )
    def test_wrong(self, tmp_path: Path, content: bytes, sentence: str) -> None:
        """A file without prompts is rejected in one sentence, with the line if known."""
        path = tmp_path / "prompts"
        path.write_bytes(content)
        with pytest.raises(InvalidRequestError, match=sentence):
            read_prompts(path)


@pytest.mark.parametrize(
    ("name", "models", "sentence"),
    [
        ("a/b", ("one", "two"), "'a/b' is not a valid name for a review"),
        ("new", ("one",), "A review compares two models: give --model twice."),
        (
            "new",
            ("one", "one"),
            "Without sampling, one model gives the same answers twice: name two models, or give --temperature.",
        ),
    ],
)
def test_rejected_before_any_question(tmp_path: Path, name: str, models: tuple[str, ...], sentence: str) -> None:
    """A review that could not be stored, or would be meaningless, is rejected first."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Why?\n")
    with pytest.raises(InvalidRequestError) as caught:
        make(load_settings(data=tmp_path), name, models, prompts, SamplingParams())
    assert str(caught.value).startswith(sentence)
