"""Finds near-duplicates by MinHash (Broder 1997), such as edited copies of a file."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pellucid.learn.corpus import Corpus, Document
from pellucid.system.progress import Progress, Silent

SHINGLE = 5
"""Words and signs in a shingle."""

HASHES = 128
"""A similarity of 0.7 is estimated with a standard deviation of 0.04."""

ALIKE = 0.7
"""Minimum Jaccard similarity of duplicates."""

LEAST = math.ceil(ALIKE * HASHES)

Band = tuple[int, bytes]
"""The number and the bytes of a part of a signature."""

_WORD = re.compile(r"\w+|[^\w\s]")


def without_near_duplicates(corpus: Corpus, progress: Progress | None = None) -> Corpus:
    """Drop documents similar to an earlier document.

    Only documents with a common band are compared. No duplicate is missed: two signatures differ in
    at most ``HASHES - LEAST`` places, and there is one band more.
    """
    progress = progress or Silent()
    documents, kept = corpus.documents, list[Document]()
    progress.start("comparing files", len(documents))
    signatures = np.empty((len(documents), HASHES), dtype=np.uint32)
    by_band: dict[Band, list[int]] = {}
    for document in documents:
        progress.advance(1)
        signature = minhash(document.text)
        bands = [(number, band.tobytes()) for number, band in enumerate(np.array_split(signature, HASHES - LEAST + 1))]
        near = candidates(by_band, bands)
        if near and (signatures[near] == signature).sum(axis=1).max() >= LEAST:
            continue
        for band in bands:
            by_band.setdefault(band, []).append(len(kept))
        signatures[len(kept)] = signature
        kept.append(document)
    alike = len(documents) - len(kept)
    return Corpus(tuple(kept), Counter(corpus.skipped) + Counter({"near-duplicates": alike}))


def candidates(by_band: Mapping[Band, Sequence[int]], bands: Sequence[Band]) -> list[int]:
    return list({index for band in bands for index in by_band.get(band, ())})


def minhash(text: str) -> NDArray[np.uint32]:
    """Return a signature (HASHES,).

    The share of equal places in two signatures estimates the Jaccard similarity.
    """
    codes = np.array([_code(word) for word in _WORD.findall(text)], dtype=np.uint64)
    width = min(SHINGLE, len(codes))
    # Multiply-shift hashing (Dietzfelbinger 1996): products and sums overflow, and the upper halves
    # count. A remainder by a prime takes ten times as long.
    shingles = sum(
        (codes[at : len(codes) - width + 1 + at] * _FACTORS[at] for at in range(width)), np.zeros(1, dtype=np.uint64)
    )
    values = shingles >> _HALF
    least = np.full(HASHES, np.iinfo(np.uint64).max)
    for at in range(0, len(values), _BLOCK):
        hashes = np.multiply.outer(_FACTORS_OF_HASHES, values[at : at + _BLOCK]) + _SUMMANDS_OF_HASHES
        least = np.minimum(least, hashes.min(axis=1))
    return (least >> _HALF).astype(np.uint32)


@lru_cache(maxsize=100_000)
def _code(word: str) -> int:
    return zlib.crc32(word.encode())


_HALF = np.uint64(32)
_RANDOM = np.random.default_rng(0)
_FACTORS = _RANDOM.integers(0, 1 << 64, SHINGLE, dtype=np.uint64)
_FACTORS_OF_HASHES = _RANDOM.integers(0, 1 << 64, HASHES, dtype=np.uint64)
_SUMMANDS_OF_HASHES = _RANDOM.integers(0, 1 << 64, (HASHES, 1), dtype=np.uint64)
_BLOCK = 512  # Fits into a processor's cache
