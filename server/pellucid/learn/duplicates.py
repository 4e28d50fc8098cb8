"""Finds near-duplicate documents by MinHash (Broder 1997), so that an edited copy is neither trained on twice nor tested on."""

from __future__ import annotations

import re
import zlib
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pellucid.learn.corpus import Corpus, Document

SHINGLE = 5
"""Consecutive words and signs that form one shingle."""

HASHES = 128
"""Length of a signature. A similarity of 0.7 is estimated with a standard deviation of 0.04."""

ALIKE = 0.7
"""Jaccard similarity of shingles from which two documents count as duplicates."""

_WORD = re.compile(r"\w+|[^\w\s]")
_PRIME = np.uint64((1 << 61) - 1)


def without_near_duplicates(corpus: Corpus) -> Corpus:
    """Drop documents that nearly equal an earlier one, and count them as skipped."""
    documents, kept = corpus.documents, list[Document]()
    signatures = np.empty((len(documents), HASHES), dtype=np.uint64)
    for document in documents:
        signature = minhash(document.text)
        if len(kept) and (signatures[: len(kept)] == signature).mean(axis=1).max() >= ALIKE:
            continue
        signatures[len(kept)] = signature
        kept.append(document)
    alike = len(documents) - len(kept)
    return Corpus(tuple(kept), Counter(corpus.skipped) + Counter({"near-duplicates": alike}))


def minhash(text: str) -> NDArray[np.uint64]:
    """Return a signature of shape (HASHES,). The share of equal places in two signatures estimates their texts' Jaccard similarity."""
    words = _WORD.findall(text)
    shingles = {" ".join(words[begin : begin + SHINGLE]) for begin in range(max(1, len(words) - SHINGLE + 1))}
    values = np.array([zlib.crc32(shingle.encode()) for shingle in shingles], dtype=np.uint64)
    # Products of 32 and 29 bits stay below 2^61, so nothing overflows before the remainder is taken.
    return np.array([((values * a + b) % _PRIME % np.uint64(1 << 32)).min() for a, b in _COEFFICIENTS], dtype=np.uint64)


def _coefficients() -> NDArray[np.uint64]:
    generator = np.random.default_rng(0)
    return np.stack([generator.integers(1 << 28, 1 << 29, HASHES), generator.integers(0, 1 << 60, HASHES)], axis=1).astype(np.uint64)


_COEFFICIENTS = _coefficients()
