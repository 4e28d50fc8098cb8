"""Reads texts and code, skips duplicates, and splits by file.

Order and split depend only on names and contents.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath

from pellucid.completion.context.ignore_files import ignoring_file, repository
from pellucid.completion.context.workspace_walk import Walk
from pellucid.errors import InvalidRequestError
from pellucid.system.atomic_files import human
from pellucid.system.progress import Progress, Silent
from pellucid.system.regular_files import read_bytes

HOLDOUT = 0.05
"""Share of the text for validation, and again for the test."""

FEW_FILES = 20
"""Minimum number of files for holding out whole files: 5 % of fewer files is less than one."""

LARGEST_SHARE = 0.1
"""Maximum share of a held-out file: the only book among notes is more useful in training."""

MIN_BYTES = 10_000
"""A twentieth of less text is only a few lines."""

LARGEST_SOURCE_BYTES = 1 << 20
"""A larger source file is data rather than code written by a person."""

_SUFFIXES = (
    ".py .pyi .js .jsx .mjs .cjs .ts .tsx .vue .svelte .java .kt .kts .scala .groovy .c .h .cc .cpp .cxx .hpp "
    ".hh .cs .fs .go .rs .swift .m .mm .rb .php .pl .pm .lua .r .R .jl .ex .exs .erl .hs .ml .mli .clj .cljs "
    ".lisp .el .dart .zig .nim .sh .bash .zsh .fish .ps1 .sql .proto .graphql .html .css .scss .sass .less "
    ".xml .toml .yaml .yml .ini .cfg .cmake .mk .tf .md .rst .txt"
)

SOURCE_SUFFIXES = frozenset(_SUFFIXES.split())
"""Files written by people; no notebooks, data or images."""

LARGEST_TEXT_BYTES = 256 << 20

MAX_WALKED = 500_000

SNIFFED_BYTES = 8192
"""A NUL in the first bytes means that a file is not text (git's rule)."""


@dataclass(frozen=True)
class Document:
    """``name`` is a path below the given folder, with forward slashes."""

    name: str
    text: str

    @cached_property
    def size(self) -> int:
        return len(self.text.encode())


@dataclass(frozen=True, slots=True)
class CorpusBudget:
    files: int
    bytes: int


TEXTS = CorpusBudget(100_000, 1 << 30)
"""All texts are held in memory."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents sorted by name. ``skipped`` counts files by reason."""

    documents: tuple[Document, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(document.size for document in self.documents)

    @property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(f"{document.name}\0{document.text}\0".encode())
        return digest.hexdigest()

    def __str__(self) -> str:
        files = "1 file" if len(self.documents) == 1 else f"{len(self.documents):,} files"
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.skipped.items()))
        return f"{files}, {human(self.size)}" + (f"; skipped: {left_out}" if left_out else "")


@dataclass(frozen=True, slots=True)
class Split:
    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    test: tuple[Document, ...]


def gather(
    paths: Sequence[Path],
    *,
    suffixes: Iterable[str] = (),
    largest: int = LARGEST_TEXT_BYTES,
    without: Path | None = None,
    budget: CorpusBudget = TEXTS,
    progress: Progress | None = None,
) -> Corpus:
    """Read the documents of files and folders, each content once.

    In a folder, hidden files, files ignored by git, files over ``largest`` bytes, files without one
    of the ``suffixes`` (if given) and the folder ``without`` are skipped. Files and folders in
    ``paths`` are always read. Beyond the budget, files are chosen by the hash of the name, so that
    a changed file hardly changes the choice.
    """
    progress = progress or Silent()
    wanted = frozenset(suffixes)
    skipped: Counter[str] = Counter()
    found: list[_FoundFile] = []
    for path in paths:
        if not path.exists():
            raise InvalidRequestError(f"{path} does not exist: name a file or a folder of text.")
    progress.start("looking for files", None)
    for path in paths:
        for file in (
            _files(path, wanted, largest, without, skipped) if path.is_dir() else [_FoundFile(path, path.name, 0)]
        ):
            found.append(file)
            progress.advance(1)
    chosen = _within(budget, found)
    if len(chosen) < len(found):
        skipped[f"of {len(found):,} beyond a sample of {budget.files:,} files or {human(budget.bytes)}"] = len(
            found
        ) - len(chosen)
    documents: dict[bytes, Document] = {}  # By content
    progress.start("reading files", len(chosen))
    for file in chosen:
        progress.advance(1)
        document = _read(file.path, file.name, skipped)
        if document is None:
            continue
        key = hashlib.sha256(document.text.encode()).digest()
        if key in documents:
            skipped["duplicates"] += 1
            continue
        documents[key] = document
    if not documents:
        where = ", ".join(map(str, paths))
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted((+skipped).items()))
        raise InvalidRequestError(
            f"There is no text in {where}"
            + (f" ({reasons})" if reasons else "")
            + ": name a file or a folder that contains some."
        )
    return Corpus(tuple(sorted(documents.values(), key=lambda document: document.name)), dict(+skipped))


def split(corpus: Corpus, holdout: float = HOLDOUT) -> Split:
    """Hold out whole files by the hash of the name, or the end of each file if files are few."""
    if corpus.size < MIN_BYTES:
        raise InvalidRequestError(
            f"There are {corpus.size:,} bytes of text, too little to train and test on: give {MIN_BYTES:,} or more."
        )
    if len(corpus.documents) < FEW_FILES:
        return _cut_each(corpus.documents, holdout)
    order = sorted(corpus.documents, key=lambda document: hashlib.sha256(document.name.encode()).hexdigest())
    total = corpus.size
    parts: list[list[Document]] = [[], [], []]  # Test, validation, train
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
        # A few files contain nearly all of the text.
        return _cut_each(corpus.documents, holdout)
    return Split(train, validation, test)


def _cut_each(documents: Sequence[Document], holdout: float) -> Split:
    """Take the end of each document for the test, and the part before for validation."""
    parts: list[list[Document]] = [[], [], []]
    for document in documents:
        text = document.text
        begin, end = (text.rfind("\n", 0, round(len(text) * (1 - share * holdout))) + 1 for share in (2, 1))
        if not begin:
            # With almost no line breaks, the whole text is for training.
            begin = end = len(text)
        for part, piece in zip(parts, (text[:begin], text[begin:end], text[end:]), strict=True):
            if piece:
                part.append(Document(document.name, piece))
    if not all(parts):
        raise InvalidRequestError(
            "The text is one long line, which cannot be split at line breaks: break it into lines."
        )
    return Split(*map(tuple, parts))


@dataclass(frozen=True, slots=True)
class _FoundFile:
    """``size`` is 0 for explicitly named files, which are always read."""

    path: Path
    name: str
    size: int


def _files(
    folder: Path, suffixes: frozenset[str], largest: int, without: Path | None, skipped: Counter[str]
) -> Iterator[_FoundFile]:
    """Yield the files of a folder, in order. Links are not followed."""
    folder = folder.absolute()
    top = repository(folder) or folder
    if ignoring_file(folder / "any file", top):
        # A named folder is read even if ignored by git, such as a package in a .venv folder.
        top = folder
    walk = Walk(folder, top, lambda name: not suffixes or PurePath(name).suffix in suffixes, without=without)
    walk.may_continue = lambda: walk.names < MAX_WALKED
    for entry in walk.files():
        size = entry.stat(follow_symlinks=False).st_size
        if size > largest:
            skipped[f"larger than {human(largest)}"] += 1
        else:
            path = Path(entry.path)
            yield _FoundFile(path, path.relative_to(folder).as_posix(), size)
    if walk.is_cut:
        raise InvalidRequestError(
            f"{folder} contains more than {MAX_WALKED:,} files and folders: name a smaller folder."
        )
    skipped["folders ignored by git"] += walk.ignored_folders
    skipped["ignored by git"] += walk.ignored_files
    skipped["of other kinds"] += walk.unwanted


def _within(budget: CorpusBudget, files: Sequence[_FoundFile]) -> Sequence[_FoundFile]:
    """Return the files within the budget, in order, chosen by the hash of the name."""
    if len(files) <= budget.files and sum(file.size for file in files) <= budget.bytes:
        return files
    chosen: set[_FoundFile] = set()
    total = 0
    for file in sorted(files, key=lambda file: hashlib.sha256(file.name.encode(errors="surrogateescape")).digest()):
        if file.size and len(chosen) >= budget.files:
            continue
        if total + file.size <= budget.bytes:
            chosen.add(file)
            total += file.size
    return [file for file in files if file in chosen]


def _read(path: Path, name: str, skipped: Counter[str]) -> Document | None:
    try:
        content = read_bytes(path, LARGEST_TEXT_BYTES)
    except FileNotFoundError:
        skipped["deleted meanwhile"] += 1
        return None
    if b"\0" in content[:SNIFFED_BYTES]:
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
