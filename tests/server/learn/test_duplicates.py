"""Tests of duplicates: edited copies are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from pellucid.learn import duplicates
from pellucid.learn.corpus import Corpus, Document
from pellucid.learn.duplicates import HASHES, LEAST, Band, minhash, without_near_duplicates
from pellucid.system.progress import Noted, Silent, Work
from support.learn.training_texts import text_of


def test_minhash_estimates_similarity() -> None:
    """The share of equal hashes is close to the share of common shingles."""
    words = [f"word{number}" for number in range(1000)]
    # The texts share 600 of 1000 words, less the shingles across the cut.
    one, other = " ".join(words[:800]), " ".join(words[200:])

    assert (minhash(one) == minhash(other)).mean() == pytest.approx(592 / 1000, abs=0.13)
    assert (minhash(one) == minhash(one + " end")).mean() > 0.95
    assert not np.array_equal(minhash(one), minhash("something else altogether, which shares nothing"))


def test_edited_copies_are_left_out() -> None:
    """Only a copy with a changed line is dropped and counted, not new texts of the same words."""
    documents = tuple(Document(f"{seed}.txt", text_of(2000, seed)) for seed in range(4))
    copy = Document("z.txt", documents[0].text.replace("\n", "\nAnd yet,\n", 1))

    found = without_near_duplicates(Corpus((*documents, copy), {"empty": 2}))

    assert found.documents == documents
    assert found.skipped == {"empty": 2, "near-duplicates": 1}
    assert without_near_duplicates(Corpus(documents)).skipped == {}


def test_no_duplicate_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures that are similar enough always have a common band."""
    dice = np.random.default_rng(0)
    base = dice.integers(0, 1 << 32, HASHES, dtype=np.uint32)
    signatures = [base]
    for differing in (HASHES - LEAST, HASHES - LEAST + 1, HASHES):
        for _ in range(40):
            other = base.copy()
            other[dice.choice(HASHES, differing, replace=False)] += np.uint32(1)
            signatures.append(other)
    given = iter(signatures)
    monkeypatch.setattr(duplicates, "minhash", lambda text: next(given))
    alone = [Document(f"{number:03}", str(number)) for number in range(len(signatures))]
    kept = {document.name for document in without_near_duplicates(Corpus(tuple(alone))).documents}
    assert kept.isdisjoint(f"{number:03}" for number in range(1, 41))
    assert "041" in kept


def test_unlike_files_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparisons grow with the number of files, not with its square."""

    def compared(count: int) -> int:
        comparisons = 0
        whole = duplicates.candidates

        def counting(by_band: Mapping[Band, Sequence[int]], bands: Sequence[Band]) -> list[int]:
            nonlocal comparisons
            found = whole(by_band, bands)
            comparisons += len(found)
            return found

        monkeypatch.setattr(duplicates, "candidates", counting)
        documents = tuple(Document(f"{seed}.txt", text_of(300, seed)) for seed in range(count))
        assert without_near_duplicates(Corpus(documents)).documents == documents
        monkeypatch.undo()
        return comparisons

    assert compared(400) < 400


def test_progress_of_comparing() -> None:
    """Each file is a step."""
    shown = Noted(Silent())
    without_near_duplicates(Corpus(tuple(Document(f"{seed}.txt", text_of(300, seed)) for seed in range(5))), shown)
    assert shown.now == Work("comparing files", 5, 5)
