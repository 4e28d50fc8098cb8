"""Git repositories with staged changes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from support.required_programs import require_program

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    command = [require_program("git"), *IDENTITY, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def stage(folder: Path, files: Mapping[str, str | bytes | None]) -> None:
    """Write files, or remove a file with None, and stage the changes."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink()
        else:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    git(folder, "add", "--force", "--all", "--", *files)


def repository(folder: Path, files: Mapping[str, str | bytes], *subjects: str) -> Path:
    """Make a repository with these files in the first commit, and a commit for each subject."""
    git(folder, "init", "--quiet")
    stage(folder, files)
    for subject in subjects:
        git(folder, "commit", "--quiet", "--allow-empty", "--message", subject)
    return folder
