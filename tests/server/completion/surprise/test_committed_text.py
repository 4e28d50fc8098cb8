"""Tests of which lines of a file count as changed since its last commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pellucid.completion.surprise.committed_text import changed_parts, committed_text
from pellucid.errors import InvalidRequestError


def git(folder: Path, *arguments: str) -> None:
    """Run git with an author of its own, and with no settings of the user."""
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    """Return a worktree with one commit of sub/a.py."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.py").write_bytes(b"a = 1\r\nb = 2\r\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "sub/a.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


async def test_the_last_commit(worktree: Path) -> None:
    """The text is that of the last commit, whatever is in the file and in the index, with line feeds alone."""
    file = worktree / "sub/a.py"
    file.write_text("other\n")
    git(worktree, "add", "sub/a.py")
    assert await committed_text(file) == "a = 1\nb = 2\n"


async def test_a_file_that_is_not_committed(worktree: Path) -> None:
    """All of a new file counts as changed, also before the first commit."""
    (worktree / "new.py").write_text("x\n")
    assert await committed_text(worktree / "new.py") == ""
    empty = worktree / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    (empty / "a.py").write_text("x\n")
    assert await committed_text(empty / "a.py") == ""


async def test_outside_of_a_repository(tmp_path: Path) -> None:
    """A file in no repository cannot be compared, and the sentence gives git's reason."""
    with pytest.raises(InvalidRequestError, match=r"git cannot compare a\.py with its last commit: not a git repository"):
        await committed_text(tmp_path / "a.py")


async def test_no_filter_of_the_repository_runs(worktree: Path) -> None:
    """A repository that was downloaded can name commands that show its files; comparing runs none of them."""
    (worktree / ".gitattributes").write_text("*.py diff=own filter=own\n")
    for name in ("diff.own.textconv", "diff.external", "filter.own.smudge", "core.fsmonitor"):
        git(worktree, "config", name, f"touch {worktree}/ran; cat")
    await committed_text(worktree / "sub/a.py")
    assert not (worktree / "ran").exists()


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("a\nb\nc\n", "a\nx\nc\n", ["x\n"]),
        ("a\nb\n", "new\na\nb\nlast", ["new\n", "last"]),
        ("a\nb\n", "a\n", []),
        ("", "a\nb\n", ["a\nb\n"]),
        ("a\n", "a\n", []),
    ],
)
def test_changed_parts(old: str, new: str, parts: list[str]) -> None:
    """Lines that were changed and added are parts; where lines were deleted there is nothing to read."""
    assert [new[begin:end] for begin, end in changed_parts(old, new)] == parts
