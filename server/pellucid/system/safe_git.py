"""Git commands that run no program named by the repository, and use no network."""

from __future__ import annotations

import os
from pathlib import Path

_OTHER_PLACES = (
    "GIT_DIR",
    "GIT_COMMON_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
)
"""Variables from a parent git process that would make git look into a different repository."""

_RULES = {
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
}  # Old git knows only the last variable.
"""English messages, no lock files, and no fetching of missing objects with the repository's
commands.
"""

_OPTIONS = ("--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")


def git_command(folder: Path, *arguments: str) -> tuple[str, ...]:
    """Return a git command for a folder, for plumbing that prints stored objects unchanged."""
    return ("git", *_OPTIONS, "-C", str(folder), *arguments)


def git_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OTHER_PLACES} | _RULES
