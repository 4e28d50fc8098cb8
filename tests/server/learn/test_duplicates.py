"""Edited copies are found."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.learn.corpus import Corpus, Document
from pellucid.learn.duplicates import minhash, without_near_duplicates
from support.learn.training_texts import text_of


def test_minhash_estimates_similarity() -> None:
    """The share of equal hashes is close to the share of common shingles."""
    words = [f"word{number}" for number in range(1000)]
    one, other = " ".join(words[:800]), " ".join(words[200:])  # 600 of 1000 shared, less the shingles across the cut

    assert (minhash(one) == minhash(other)).mean() == pytest.approx(592 / 1000, abs=0.13)
    assert (minhash(one) == minhash(one + " end")).mean() > 0.95
    assert not np.array_equal(minhash(one), minhash("something else altogether, which shares nothing"))


def test_edited_copies_are_left_out() -> None:
    """A copy with a changed line is dropped and counted, the first one stays, and so do other texts of the same words."""
    documents = tuple(Document(f"{seed}.txt", text_of(2000, seed)) for seed in range(4))
    copy = Document("z.txt", documents[0].text.replace("\n", "\nAnd yet,\n", 1))

    found = without_near_duplicates(Corpus((*documents, copy), {"empty": 2}))

    assert found.documents == documents
    assert found.skipped == {"empty": 2, "near-duplicates": 1}
    assert without_near_duplicates(Corpus(documents)).skipped == {}
