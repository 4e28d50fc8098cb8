"""Collects source files for training, and holds out some files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import (
    LARGEST_SOURCE_BYTES,
    MIN_BYTES,
    SOURCE_SUFFIXES,
    Corpus,
    CorpusBudget,
    Document,
    gather,
)
from pellucid.learn.duplicates import without_near_duplicates
from pellucid.learn.finetune.secrets import kind_of_secret
from pellucid.system.atomic_files import human
from pellucid.system.progress import Progress

FILES = CorpusBudget(2_000, 10_000_000)
"""Limits of files and bytes. Three passes take a fast GPU most of the default 20 minutes."""

MIN_FILES = 10

TEST_SHARE, VALIDATION_SHARE = 0.15, 0.07
"""Shares of the text held out for the test and early stopping, except text in large files."""

MIN_TEST, MIN_VALIDATION = 4, 2

JUDGED = 24
"""Maximum number of files to evaluate; each has a fixed cost."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Documents for training, early stopping and the test.

    ``skipped`` counts files by reason. ``secrets`` are file names and kinds of secrets.
    """

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    test: tuple[Document, ...]
    skipped: Mapping[str, int]
    secrets: tuple[tuple[str, str], ...]

    @property
    def judged(self) -> tuple[Document, ...]:
        """The test documents to evaluate: all, or the first ``JUDGED`` by the hash of the name."""
        return tuple(sorted(_by_hash(self.test)[:JUDGED], key=lambda document: document.name))

    @property
    def digest(self) -> str:
        parts = [
            [(document.name, document.text) for document in part] for part in (self.train, self.validation, self.test)
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def counts(self) -> dict[str, int | dict[str, int]]:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        files: dict[str, int | dict[str, int]] = {f"{name}_files": len(part) for name, part in parts.items()}
        sizes = {f"{name}_bytes": _size(part) for name, part in parts.items()}
        files["judged_files"] = len(self.judged)
        return (
            files
            | sizes
            | {"left_out": dict(self.skipped) | ({"with secrets": len(self.secrets)} if self.secrets else {})}
        )


def collect(path: Path, progress: Progress | None = None) -> Dataset:
    """Gather a sample of the source files of a folder, and hold out files by the hash of the name.

    Near-duplicates are dropped first, so that no duplicate is in two parts.
    """
    corpus = gather([path], suffixes=SOURCE_SUFFIXES, largest=LARGEST_SOURCE_BYTES, budget=FILES, progress=progress)
    secrets, clean = [], []
    for document in corpus.documents:
        kind = kind_of_secret(document.text)
        if kind is None:
            clean.append(document)
        else:
            secrets.append((document.name, kind))
    found = without_near_duplicates(Corpus(tuple(clean), corpus.skipped), progress)
    _check(path, found.documents)
    train, validation, test = hold_out(found.documents)
    return Dataset(train, validation, test, found.skipped, tuple(secrets))


def hold_out(documents: Sequence[Document]) -> tuple[tuple[Document, ...], tuple[Document, ...], tuple[Document, ...]]:
    """Split at least ten documents into parts for training, early stopping and the test."""
    large = _size(documents) / 4  # Only for training.
    total = _size([document for document in documents if document.size < large])
    train: list[Document] = []
    validation: list[Document] = []
    test: list[Document] = []
    tested = validated = 0
    for document in _by_hash(documents):
        if document.size >= large:
            train.append(document)
        elif len(test) < MIN_TEST or (len(validation) >= MIN_VALIDATION and tested < TEST_SHARE * total):
            test.append(document)
            tested += document.size
        elif len(validation) < MIN_VALIDATION or validated < VALIDATION_SHARE * total:
            validation.append(document)
            validated += document.size
        else:
            train.append(document)
    learn, stop, judged = (
        tuple(sorted(part, key=lambda document: document.name)) for part in (train, validation, test)
    )
    return learn, stop, judged


def _by_hash(documents: Sequence[Document]) -> list[Document]:
    return sorted(documents, key=lambda document: hashlib.sha256(document.name.encode()).hexdigest())


def _check(path: Path, documents: Sequence[Document]) -> None:
    if len(documents) < MIN_FILES:
        raise InvalidRequestError(
            f"{path} has {len(documents)} of the {MIN_FILES} source files that are needed, because whole files "
            "are held out: name a larger folder."
        )
    if _size(documents) < MIN_BYTES:
        raise InvalidRequestError(
            f"{path} has {human(_size(documents))} of source text, but {human(MIN_BYTES)} are needed for "
            "training: name a larger folder."
        )


def _size(documents: Sequence[Document]) -> int:
    return sum(document.size for document in documents)
