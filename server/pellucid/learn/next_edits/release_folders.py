"""Reads files changed between the last two releases, in folders PACKAGE/VERSION/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pellucid.completion.context.workspace_walk import Walk
from pellucid.errors import InvalidRequestError
from pellucid.learn.next_edits.edit_cases import MAX_BYTES, FileChange
from pellucid.learn.next_edits.git_history import decoded, is_repository
from pellucid.system.progress import Progress
from pellucid.system.regular_files import read_bytes

_VERSION = re.compile(r"v?\d")


def release_changes(folder: Path, progress: Progress) -> Iterator[FileChange]:
    """Yield the changed Python files of each package."""
    packages = [
        (package.name, releases) for package in _folders(folder) if len(releases := last_releases(package)) == 2
    ]
    if not packages:
        top = next((parent for parent in folder.resolve().parents if is_repository(parent)), None)
        remedy = "name one of the two." if top is None else f"name {top}, the top folder of its repository."
        raise InvalidRequestError(
            f"{folder} is neither the top folder of a git repository nor a folder of releases "
            f"(PACKAGE/VERSION/, with two versions or more): {remedy}"
        )
    progress.start("reading releases", len(packages))
    for name, (earlier, later) in packages:
        for path in (Path(entry.path) for entry in Walk(later, later, lambda name: name.endswith(".py")).files()):
            former = earlier / path.relative_to(later)
            old, new = _text(former), _text(path)
            if old is not None and new is not None and old != new:
                yield FileChange(name, path.relative_to(later).as_posix(), old, new)
        progress.advance(1)


def last_releases(package: Path) -> list[Path]:
    """Return the folders of the last two releases. A folder like docs is no release."""
    return sorted((folder for folder in _folders(package) if _VERSION.match(folder.name)), key=_version)[-2:]


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InvalidRequestError(f"{folder} cannot be read ({error.strerror}): name another folder.") from None


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in path.name.removeprefix("v").split("."))


def _text(path: Path) -> str | None:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None
    return decoded(read_bytes(path, MAX_BYTES))
