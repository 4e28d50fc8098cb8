"""Builds git commands that read a repository without running any program that it names, and without a network."""

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
"""Variables that a process started by git inherits, and that would make git look into another
repository.
"""

_RULES = {
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
}  # older git knows only the last
"""Messages in English, no lock files, and no fetching of what is missing, as the repository names
the commands for that.
"""

_OPTIONS = ("--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")


def git_command(folder: Path, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs git in a folder.

    Use it with plumbing that prints objects as they are stored.
    """
    return ("git", *_OPTIONS, "-C", str(folder), *arguments)


def git_environment() -> dict[str, str]:
    """Return the environment for the command."""
    return {name: value for name, value in os.environ.items() if name not in _OTHER_PLACES} | _RULES
