"""Texts and code to learn from and to test on: found, read, freed of duplicates, and split by file before anything else.

What is skipped is counted by its reason, never silently. Order and split depend on names and contents alone.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pellucid.completion.context.ignore_files import ignoring_file, repository
from pellucid.errors import InvalidRequestError
from pellucid.system.atomic_files import human

HOLDOUT = 0.05
"""Part of the text that is held out for validation, and as much again for the test."""

FEW_FILES = 20
"""Files below which each one is cut into three, rather than some of them held out: parts of five in a hundred need as many."""

LARGEST_SHARE = 0.1
"""Part of all text that a file may be to be held out: the only book among notes is there to be learnt from."""

LEAST_BYTES = 10_000
"""Text below which nothing can be learnt and tested: a twentieth of it is some lines."""

LARGEST_SOURCE = 1 << 20
"""Bytes from which on a file of a source folder is data rather than something that a person wrote."""

SNIFFED = 8192
"""Bytes at the beginning of a file among which a NUL tells that it is not text: git's own rule."""

NEVER = frozenset({".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".tox"})
"""Folders that hold nobody's own text."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its name: its path below the folder that was asked for, with forward slashes."""

    name: str
    text: str

    @property
    def size(self) -> int:
        """Bytes of UTF-8."""
        return len(self.text.encode())


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents in the order of their names, and how many files were left out, by reason."""

    documents: tuple[Document, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of UTF-8 of all of them."""
        return sum(document.size for document in self.documents)

    @property
    def digest(self) -> str:
        """SHA-256 of names and texts, in hexadecimal."""
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(f"{document.name}\0{document.text}\0".encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        files = "1 file" if len(self.documents) == 1 else f"{len(self.documents):,} files"
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.skipped.items()))
        return f"{files}, {human(self.size)}" + (f"; left out: {left_out}" if left_out else "")


@dataclass(frozen=True, slots=True)
class Split:
    """Documents to learn from, to choose by and to test on, none of which is in two of them."""

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    test: tuple[Document, ...]


def gather(paths: Sequence[Path], *, suffixes: Iterable[str] = (), largest: int | None = None, without: Path | None = None) -> Corpus:
    """The documents of files and folders, the same content once.

    In folders hidden files, what git ignores, files of more than ``largest`` bytes, and with ``suffixes`` all others are left
    out; a file or folder that is named itself is read in any case. What lies in the folder
    ``without`` is not there at all. Raises InvalidRequestError for a path to nothing, a file that cannot be
    read, and where there is no text at all.
    """
    wanted = frozenset(suffixes)
    skipped: Counter[str] = Counter()
    documents: dict[str, Document] = {}  # by their content
    for path in paths:
        if not path.exists():
            raise InvalidRequestError(f"{path} does not exist: name a file or a folder of text.")
        for file, name in [(path, path.name)] if path.is_file() else _files(path, wanted, largest, without, skipped):
            document = _read(file, name, skipped)
            if document is None:
                continue
            key = hashlib.sha256(document.text.encode()).hexdigest()
            if key in documents:
                skipped["duplicates"] += 1
                continue
            documents[key] = document
    if not documents:
        where = ", ".join(map(str, paths))
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted((+skipped).items()))
        raise InvalidRequestError(
            f"There is no text in {where}" + (f" ({reasons})" if reasons else "") + ": name a file or a folder that holds some."
        )
    return Corpus(tuple(sorted(documents.values(), key=lambda document: document.name)), dict(+skipped))


def split(corpus: Corpus, holdout: float = HOLDOUT) -> Split:
    """Hold out whole files, chosen by the hash of their names; of a few files the ends of each, at a line's end.

    Raises InvalidRequestError where there is too little text.
    """
    if corpus.size < LEAST_BYTES:
        raise InvalidRequestError(
            f"There are {corpus.size:,} bytes of text, which is too little to learn from and to test on: give {LEAST_BYTES:,} or more."
        )
    if len(corpus.documents) < FEW_FILES:
        return _cut_each(corpus.documents, holdout)
    order = sorted(corpus.documents, key=lambda document: hashlib.sha256(document.name.encode()).hexdigest())
    total = corpus.size
    parts: list[list[Document]] = [[], [], []]  # test, validation, train
    held = [0, 0]
    for document in order:
        size = document.size
        fits = size <= LARGEST_SHARE * total
        part = next((at for at in (0, 1) if fits and held[at] < holdout * total), 2)
        parts[part].append(document)
        if part < 2:
            held[part] += size
    test, validation, train = (tuple(sorted(part, key=lambda document: document.name)) for part in parts)
    if not (train and validation and test):
        return _cut_each(corpus.documents, holdout)  # a few files are nearly all there is
    return Split(train, validation, test)


def _cut_each(documents: Sequence[Document], holdout: float) -> Split:
    """The last part of each for the test, what stands before that for validation, the rest to learn from."""
    parts: list[list[Document]] = [[], [], []]
    for document in documents:
        text = document.text
        begin, end = (_line_start(text, round(len(text) * (1 - share * holdout))) for share in (2, 1))
        if not begin:
            begin = end = len(text)  # hardly a line's end in it: all of it is learnt from
        for part, piece in zip(parts, (text[:begin], text[begin:end], text[end:]), strict=True):
            if piece:
                part.append(Document(document.name, piece))
    if not all(parts):
        raise InvalidRequestError("The text is one long line, which cannot be split at a line's end: break it into lines.")
    return Split(*map(tuple, parts))


def _line_start(text: str, at: int) -> int:
    """Where the line that holds a place begins."""
    return text.rfind("\n", 0, at) + 1


def _files(
    folder: Path, suffixes: frozenset[str], largest: int | None, without: Path | None, skipped: Counter[str]
) -> Iterator[tuple[Path, str]]:
    """The files of a folder and their names, in order; links are not followed."""
    folder = folder.absolute()
    top = repository(folder) or folder
    if ignoring_file(folder / "any file", top):
        top = folder  # who names it wants it read all the same: a package that is installed in a project's .venv, say
    for root, folders, files in os.walk(folder):
        here = Path(root)
        if without is not None:
            folders[:] = [name for name in folders if (here / name).resolve() != without.resolve()]
        open_folders = [name for name in sorted(folders) if not (name.startswith(".") or name in NEVER or (here / name).is_symlink())]
        # What is ignored with all that it holds is not walked through: it may be large.
        folders[:] = [name for name in open_folders if not ignoring_file(here / name / "any file", top)]
        skipped["folders ignored by git"] += len(open_folders) - len(folders)
        for name in sorted(files):
            path = here / name
            if name.startswith(".") or path.is_symlink() or not path.is_file():
                continue
            if suffixes and path.suffix not in suffixes:
                skipped["of other kinds"] += 1
            elif ignoring_file(path, top):
                skipped["ignored by git"] += 1
            elif largest is not None and path.stat().st_size > largest:
                skipped[f"larger than {human(largest)}"] += 1
            else:
                yield path, path.relative_to(folder).as_posix()


def _read(path: Path, name: str, skipped: Counter[str]) -> Document | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read ({error.strerror}): make it readable, or name something else.") from None
    if b"\0" in content[:SNIFFED]:
        skipped["not text"] += 1
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        skipped["not in UTF-8"] += 1
        return None
    if not text.strip():
        skipped["empty"] += 1
        return None
    return Document(name, text)
