"""Reads changed files from a repository's last commits with the git command."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pellucid.completion.context.ignore_files import ignoring_file
from pellucid.completion.document_cursor import normalize_newlines
from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import SNIFFED_BYTES, SOURCE_SUFFIXES
from pellucid.learn.next_edits.edit_cases import MAX_BYTES, FileChange
from pellucid.system.progress import Progress
from pellucid.system.safe_git import git_command, git_environment

MAX_COMMITS = 1000
"""Merges are skipped, because merges repeat other commits."""

MAX_FILES = 100
"""Maximum source files of a commit. Larger commits generate, move or reformat files."""

COMMITS_AT_ONCE = 32

LIMIT_SECONDS = 120.0

_FILE_MODES = (b"100644", b"100755")
"""Links and submodules have different modes."""


@dataclass(frozen=True, slots=True)
class _ChangedFile:
    """A changed file, with the blob ids before and after the commit."""

    commit: str
    name: str
    old: str
    new: str


def is_repository(folder: Path) -> bool:
    return (folder / ".git").exists()


def commit_changes(repository: Path, progress: Progress) -> Iterator[FileChange]:
    """Yield the source files changed by the last commits.

    Ignored, binary and large files are skipped, and commits with too many files. Missing blobs, as
    in a partial clone, are not fetched.
    """
    top = repository.absolute()
    commits = _git(top, ("rev-list", "--no-merges", f"--max-count={MAX_COMMITS}", "HEAD", "--")).decode().split()
    progress.start("reading commits", len(commits))
    for at in range(0, len(commits), COMMITS_AT_ONCE):
        chosen = commits[at : at + COMMITS_AT_ONCE]
        files = _without_sweeping_commits(_changed_files(top, chosen))
        texts = _texts(top, {id for file in files for id in (file.old, file.new)})
        for file in files:
            if file.old in texts and file.new in texts:
                yield FileChange(file.commit[:12], file.name, texts[file.old], texts[file.new])
        progress.advance(len(chosen))


def _changed_files(top: Path, commits: Sequence[str]) -> Iterator[_ChangedFile]:
    command = (
        "diff-tree",
        "--stdin",
        "-r",
        "--raw",
        "-z",
        "--no-renames",
        "--diff-filter=M",
        "--no-abbrev",
        "--no-ext-diff",
    )
    parts = iter(_git(top, command, "\n".join(commits).encode() + b"\n").split(b"\0")[:-1])
    commit = ""
    for part in parts:
        if not part.startswith(b":"):
            commit = part.decode().strip()
            continue
        old_mode, new_mode, old, new, _ = part[1:].split(b" ")
        name = os.fsdecode(next(parts))
        if (
            old_mode not in _FILE_MODES
            or new_mode not in _FILE_MODES
            or old == new
            or PurePosixPath(name).suffix not in SOURCE_SUFFIXES
        ):
            continue
        if name.isprintable() and not ignoring_file(top / name, top):
            yield _ChangedFile(commit, name, old.decode(), new.decode())


def _without_sweeping_commits(files: Iterable[_ChangedFile]) -> list[_ChangedFile]:
    found = list(files)
    counts = Counter(file.commit for file in found)
    return [file for file in found if counts[file.commit] <= MAX_FILES]


def _texts(top: Path, ids: Collection[str]) -> dict[str, str]:
    wanted = sorted(ids)
    checked = _git(top, ("cat-file", "--batch-check"), _lines(wanted)).decode().splitlines()
    small = [id for id, kind, *size in map(str.split, checked) if kind == "blob" and int(size[0]) <= MAX_BYTES]
    printed = _git(top, ("cat-file", "--batch"), _lines(small))
    texts: dict[str, str] = {}
    at = 0
    for id in small:
        begin = printed.index(b"\n", at) + 1
        size = int(printed[at:begin].split()[2])
        text = decoded(printed[begin : begin + size])
        if text is not None:
            texts[id] = text
        at = begin + size + 1
    return texts


def decoded(content: bytes) -> str | None:
    r"""Return a text with ``\n`` line ends; None if binary or not in UTF-8."""
    if b"\0" in content[:SNIFFED_BYTES]:
        return None
    try:
        return normalize_newlines(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return None


def _lines(ids: Sequence[str]) -> bytes:
    return "".join(f"{id}\n" for id in ids).encode()


def _git(top: Path, arguments: Sequence[str], given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(  # noqa: S603 - git itself, without any program that the repository names
            git_command(top, *arguments),
            input=given,
            capture_output=True,
            env=git_environment(),
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise InvalidRequestError(
            f"git cannot be run ({error.strerror}): install it, or name a folder of releases."
        ) from None
    except subprocess.TimeoutExpired:
        raise InvalidRequestError(
            f"git took longer than {LIMIT_SECONDS:.0f} s to read {top}: name a smaller repository."
        ) from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2].removeprefix("fatal: ")
        if b"bad revision 'HEAD'" in done.stderr:
            reason = "it has no commits"
        raise InvalidRequestError(f"git cannot read the history of {top} ({reason}): name another repository.")
    return done.stdout
