"""Tests of which lines of a file count as changed since its last commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pellucid.completion.surprise.committed_text import changed_parts, committed_text
from pellucid.errors import InvalidRequestError
from support.required_programs import require_program


def git(folder: Path, *arguments: str) -> str:
    """Run git with an author of its own, and with no settings of the user.

    Return what it prints.
    """
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    return subprocess.run(
        [require_program("git"), *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


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
    require_program("git")
    with pytest.raises(
        InvalidRequestError, match=r"git cannot compare a\.py with its last commit: not a git repository"
    ):
        await committed_text(tmp_path / "a.py")


async def test_no_filter_of_the_repository_runs(worktree: Path) -> None:
    """A repository that was downloaded can name commands that show its files; comparing runs none of them."""
    (worktree / ".gitattributes").write_text("*.py diff=own filter=own\n")
    for name in ("diff.own.textconv", "diff.external", "filter.own.smudge", "core.fsmonitor"):
        git(worktree, "config", name, f"touch {worktree}/ran; cat")
    await committed_text(worktree / "sub/a.py")
    assert not (worktree / "ran").exists()


async def test_nothing_that_is_missing_is_fetched(worktree: Path) -> None:
    """A downloaded repository can lack a file and name the command that fetches it; git does not run it, and says what is missing."""
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
    """An editor that git has started, such as for a commit message, inherits another repository, which is not asked."""
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
    """Lines that were changed and added are parts; where lines were deleted there is nothing to read."""
    assert [new[begin:end] for begin, end in changed_parts(old, new)] == parts


def test_a_long_file_with_many_equal_lines() -> None:
    """Equal lines are not compared pair by pair, which would take minutes, and do not hide where the changes are."""
    lines = [line for number in range(20_000) for line in (f"value_{number} = {number}\n", "\n", "}\n")]
    places = [0, len(lines) // 2, len(lines) - 1]
    new = ["new\n" if index in places else line for index, line in enumerate(lines)]
    parts = changed_parts("".join(lines), "".join(new))
    text = "".join(new)
    assert [text[begin:end] for begin, end in parts] == ["new\n"] * 3
