"""The staged changes of a repository that may be sent to the model, read with git's own command."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pellucid.completion.context.privacy import MAX_CHARACTERS, Privacy, content_refusal
from pellucid.errors import InvalidRequestError
from pellucid.system.safe_git import run_git

MAX_FILES = 60
"""Files beyond are known by name only; a model for one machine reads few in full anyway."""

SUBJECTS = 12
"""Number of recent commits that are read for their subjects."""

NOTHING_STAGED = "Nothing is staged: stage the changes to describe with git add, then ask again."

_DIFF = ("diff", "--cached", "--find-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short")
_SUBMODULE = "160000"
_ABSENT = re.compile("0+")
_FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)
_KINDS = {"A": "new", "D": "deleted", "R": "renamed", "T": "new type"}


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A staged file; ``diff`` is from the first hunk on, empty if only the name may be sent."""

    kind: str
    path: str
    old_path: str = ""
    diff: str = ""

    @property
    def title(self) -> str:
        names = f"{self.old_path} -> {self.path}" if self.old_path else self.path
        return f"{names} ({self.kind})" if self.kind else names


@dataclass(frozen=True, slots=True)
class StagedChanges:
    """The staged files, the subjects of recent commits, and a sentence per file left out."""

    files: tuple[StagedFile, ...]
    subjects: tuple[str, ...]
    notes: tuple[str, ...]


async def staged_changes(folder: Path, folders: Sequence[Path] = (), exclude: Sequence[str] = ()) -> StagedChanges:
    """Return the staged changes of the repository around a folder.

    ``folders`` and ``exclude`` are an editor's open folders and patterns of private files. The
    index that git gives to hooks and editors (GIT_INDEX_FILE) counts if the index is in this
    repository. Raise InvalidRequestError with a sentence if there is nothing to describe.
    """
    top, index = await _repository(folder)
    privacy = Privacy((*folders, top), exclude)
    listed = await _git(top, index, *_DIFF, "--raw", "-z", "--no-abbrev")
    files: list[StagedFile] = []
    blobs: list[tuple[str, ...]] = []
    notes: list[str] = []
    for file, ids in _read_raw(listed):
        names = filter(None, (file.path, file.old_path))
        refusal = next(filter(None, (privacy.refusal(str(top / name), "") for name in names)), None)
        if refusal is not None:
            notes.append(refusal)
            continue
        files.append(file)
        blobs.append(ids)
    if not files:
        raise InvalidRequestError(notes[0] if notes else NOTHING_STAGED)
    texts = await _blobs(top, {id for ids in blobs[:MAX_FILES] for id in ids})
    readable = {file for file, ids in zip(files[:MAX_FILES], blobs, strict=False) if all(texts[id] for id in ids)}
    diffs = await _diffs(top, index, [file for file in files if file in readable])
    read = tuple(replace(file, diff=diffs.get(file.path, "")) for file in files)
    return StagedChanges(read, await _subjects(top), tuple(notes))


async def _repository(folder: Path) -> tuple[Path, Path | None]:
    found = await run_git(folder, "rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir")
    if "not a git repository" in found.failure or "cannot change to" in found.failure:
        raise InvalidRequestError(f"{folder} is not in a git repository: open a folder of one, or run git init.")
    if found.failure:
        raise InvalidRequestError(f"git cannot read the repository of {folder}: {found.reason}.")
    top, git_folder = (Path(os.fsdecode(line)) for line in found.output.removesuffix(b"\n").split(b"\n"))
    given = os.environ.get("GIT_INDEX_FILE")
    index = None if given is None else top / given
    return top, index if index is not None and index.parent.resolve() == git_folder.resolve() else None


async def _git(top: Path, index: Path | None, *arguments: str) -> bytes:
    result = await run_git(top, "--literal-pathspecs", *arguments, index=index)
    if result.failure:
        raise InvalidRequestError(f"git cannot read the staged changes of {top}: {result.reason}.")
    return result.output


def _read_raw(listed: bytes) -> Iterator[tuple[StagedFile, tuple[str, ...]]]:
    """Yield the files of ``git diff --raw -z``, each with the ids of the old and new contents."""
    fields = iter(os.fsdecode(listed).split("\0"))
    for header in fields:
        if not header:
            return
        old_mode, new_mode, old, new, status = header.removeprefix(":").split(" ")
        path = next(fields)
        old_path = ""
        if status[0] in "RC":
            old_path, path = path, next(fields)
        contents = ((old_mode, old), (new_mode, new))
        ids = tuple(id for mode, id in contents if mode != _SUBMODULE and not _ABSENT.fullmatch(id))
        yield StagedFile(_KINDS.get(status[0], ""), path, old_path), ids


async def _blobs(top: Path, ids: set[str]) -> dict[str, bool]:
    """Return for each stored content whether it may be sent: hand-written text without a key."""
    given = "".join(f"{id}\n" for id in ids).encode()
    checked = await run_git(top, "cat-file", "--batch-check=%(objectname) %(objectsize)", given=given)
    sizes = dict(line.split(" ") for line in checked.output.decode().splitlines())
    may_send = dict.fromkeys(ids, False)
    small = [id for id in ids if sizes[id].isdecimal() and int(sizes[id]) <= MAX_CHARACTERS]
    given = "".join(f"{id}\n" for id in small).encode()
    printed = (await run_git(top, "cat-file", "--batch", given=given)).output
    at = 0
    for id in small:
        at = printed.index(b"\n", at) + 1
        text = printed[at : at + int(sizes[id])].decode(errors="replace")
        may_send[id] = content_refusal(text) is None
        at += int(sizes[id]) + 1
    return may_send


async def _diffs(top: Path, index: Path | None, files: Sequence[StagedFile]) -> dict[str, str]:
    if not files:
        return {}
    names = [name for file in files for name in (file.path, file.old_path) if name]
    options = ("--patch", "--src-prefix=a/", "--dst-prefix=b/", "--unified=2")
    printed = (await _git(top, index, *_DIFF, *options, "--", *names)).decode(errors="replace")
    parts = [part for part in _FILE.split(printed) if part]
    # A file that became a link has two parts; then no part has a certain name.
    if len(parts) != len(files):
        return {}
    return {file.path: _hunks(part) for file, part in zip(files, parts, strict=True)}


def _hunks(part: str) -> str:
    at = part.find("\n@@ ")
    return "" if at < 0 else part[at + 1 :]


async def _subjects(top: Path) -> tuple[str, ...]:
    """Return the subjects of recent commits, the newest first; none in a new repository."""
    options = ("--no-merges", "--no-show-signature", f"--max-count={SUBJECTS}", "--format=%s")
    printed = await run_git(top, "log", *options, "HEAD")
    return tuple(line for line in printed.output.decode(errors="replace").splitlines() if line.strip())
