"""Git repositories and folders of releases with a few edits each."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.required_programs import require_program

GAP = "\n\n\n"

CALLS = GAP.join(f"value_{name} = load_settings(path_{name})" for name in "abcd") + "\n"
"""A file with four calls of a function."""

RENAMED = CALLS.replace("load_settings", "read_settings")
"""The same file after a renaming of the function: the first change is repeated at three places."""

ONE_RENAMED = CALLS.replace("load_settings", "read_settings", 1)
"""The same file after a change of a single call, although the change is possible elsewhere."""


def git(folder: Path, *arguments: str) -> str:
    """Run git with a fixed author, and return the output."""
    settings = "user.name=A", "user.email=a@b.c", "commit.gpgsign=false", "core.autocrlf=false"
    identity = [part for setting in settings for part in ("-c", setting)]
    return subprocess.run(
        [require_program("git"), *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def write_repository(folder: Path, versions: Sequence[Mapping[str, str | bytes]]) -> Path:
    """Write a repository with a commit for each version of the files."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    for version in versions:
        write_files(folder, version)
        git(folder, "add", "--force", ".")
        git(folder, "commit", "-q", "-m", "a commit")
    return folder


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def write_releases(folder: Path, packages: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Path:
    """Write the files of each version of each package."""
    for package, versions in packages.items():
        for version, files in versions.items():
            write_files(folder / package / version, files)
    return folder
