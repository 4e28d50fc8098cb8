"""Tests of the lines of a file that have changed since the last commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pellucid.completion.surprise.changed_since_commit import changed_parts, committed_text
from pellucid.errors import InvalidRequestError
from support.required_programs import require_program


def git(folder: Path, *arguments: str) -> str:
    """Run git with a test author and without the user's settings, and return the output."""
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    return subprocess.run(
        [require_program("git"), *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.py").write_bytes(b"a = 1\r\nb = 2\r\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "sub/a.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


async def test_the_last_commit(worktree: Path) -> None:
    """The text is from the last commit, whatever file and index contain, with line feeds."""
    file = worktree / "sub/a.py"
    file.write_text("other\n")
    git(worktree, "add", "sub/a.py")
    assert await committed_text(file) == "a = 1\nb = 2\n"


async def test_a_file_that_is_not_committed(worktree: Path) -> None:
    """All of a new file has changed, also before the first commit."""
    (worktree / "new.py").write_text("x\n")
    assert await committed_text(worktree / "new.py") == ""
    empty = worktree / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    (empty / "a.py").write_text("x\n")
    assert await committed_text(empty / "a.py") == ""


async def test_outside_of_a_repository(tmp_path: Path) -> None:
    """A file outside a repository cannot be compared, and the error has git's reason."""
    require_program("git")
    with pytest.raises(
        InvalidRequestError, match=r"git cannot compare a\.py with its last commit: not a git repository"
    ):
        await committed_text(tmp_path / "a.py")


async def test_no_filter_of_the_repository_runs(worktree: Path) -> None:
    """A comparison runs no command that a downloaded repository names as a filter."""
    (worktree / ".gitattributes").write_text("*.py diff=own filter=own\n")
    for name in ("diff.own.textconv", "diff.external", "filter.own.smudge", "core.fsmonitor"):
        git(worktree, "config", name, f"touch {worktree}/ran; cat")
    await committed_text(worktree / "sub/a.py")
    assert not (worktree / "ran").exists()


async def test_nothing_that_is_missing_is_fetched(worktree: Path) -> None:
    """No command that a repository names to fetch a missing file runs, and an error is raised."""
    file = worktree / "sub/a.py"
    blob = git(worktree, "rev-parse", "HEAD:sub/a.py").strip()
    (worktree / ".git/objects" / blob[:2] / blob[2:]).unlink()
    settings = {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.url": "ssh://example.invalid/a",
        "remote.origin.promisor": "true",
        "core.sshCommand": f"touch {worktree}/ran; false",
        "protocol.ssh.allow": "always",
    }
    for name, value in settings.items():
        git(worktree, "config", name, value)
    with pytest.raises(InvalidRequestError, match=r"git cannot compare a\.py with its last commit"):
        await committed_text(file)
    assert not (worktree / "ran").exists()


async def test_the_repository_is_that_of_the_file(worktree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's own repository is read although git has set another in the environment."""
    monkeypatch.setenv("GIT_DIR", str(worktree / "other"))
    assert await committed_text(worktree / "sub/a.py") == "a = 1\nb = 2\n"


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("a\nb\nc\n", "a\nx\nc\n", ["x\n"]),
        ("a\nb\n", "new\na\nb\nlast", ["new\n", "last"]),
        ("a\nb\n", "a\n", []),
        ("", "a\nb\n", ["a\nb\n"]),
        ("a\n", "a\n", []),
        ("a\x0cb\n", "a\x0cc\n", ["a\x0cc\n"]),
    ],
)
def test_changed_parts(old: str, new: str, parts: list[str]) -> None:
    """Changed and added lines are parts, and deleted lines leave nothing to read."""
    assert [new[begin:end] for begin, end in changed_parts(old, new)] == parts


def test_a_long_file_with_many_equal_lines() -> None:
    """The changes among many equal lines are found, without a comparison of all pairs."""
    lines = [line for number in range(20_000) for line in (f"value_{number} = {number}\n", "\n", "}\n")]
    places = [0, len(lines) // 2, len(lines) - 1]
    new = ["new\n" if index in places else line for index, line in enumerate(lines)]
    parts = changed_parts("".join(lines), "".join(new))
    text = "".join(new)
    assert [text[begin:end] for begin, end in parts] == ["new\n"] * 3
