"""Tests of the staged changes: what is read of a repository, and what is never read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pellucid.completion.commit_message.staged_changes import NOTHING_STAGED, StagedChanges, staged_changes
from pellucid.errors import InvalidRequestError
from support.staged_repository import git, repository, stage

KEY = "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n-----END PRIVATE KEY-----\n"


def read(folder: Path, *exclude: str) -> StagedChanges:
    return asyncio.run(staged_changes(folder, (), exclude))


def test_only_staged_changes_are_read(tmp_path: Path) -> None:
    """Lines that are not staged stay unread; new, deleted and renamed files are named as such."""
    long = "".join(f"line {number}\n" for number in range(20))
    files = {"a.py": "x = 1\n", "b.py": long, "gone.py": "y = 1\n"}
    folder = repository(tmp_path, files, "first", "Second: more")
    stage(folder, {"a.py": "x = 2\n", "b.py": None, "sub/b c.py": long + "z\n", "gone.py": None, "new.py": "n\n"})
    (folder / "a.py").write_text("x = 3\n")
    changes = read(folder / "sub")
    assert {file.title for file in changes.files} == {
        "a.py",
        "gone.py (deleted)",
        "new.py (new)",
        "b.py -> sub/b c.py (renamed)",
    }
    (changed,) = (file for file in changes.files if file.path == "a.py")
    assert changed.diff == "@@ -1 +1 @@\n-x = 1\n+x = 2\n"
    assert (changes.subjects, changes.notes) == (("Second: more", "first"), ())


@pytest.mark.parametrize("name", [".env", "ignored.txt", "inner/ignored.txt", "excluded.py"])
def test_private_files_are_left_out(tmp_path: Path, name: str) -> None:
    """A secret, ignored or excluded file is neither read nor named, and a note says so."""
    folder = repository(tmp_path, {".gitignore": "ignored.txt\n", "a.py": "x = 1\n"}, "first")
    stage(folder, {name: "PASSWORD = 1\n", "a.py": "x = 2\n"})
    changes = read(folder, "excluded.py")
    assert [file.path for file in changes.files] == ["a.py"]
    (note,) = changes.notes
    assert note.startswith(f"{Path(name).name} is never sent to the model: ")
    stage(folder, {"a.py": "x = 1\n"})
    with pytest.raises(InvalidRequestError) as refused:
        read(folder, "excluded.py")
    assert str(refused.value) == note


def test_a_secret_renamed_is_left_out(tmp_path: Path) -> None:
    """A file is left out if the former name was private, because the diff has the content."""
    folder = repository(tmp_path, {".env": "PASSWORD = 1\n" * 9, "a.py": "x = 1\n"}, "first")
    stage(folder, {".env": None, "settings.py": "PASSWORD = 1\n" * 8 + "b\n", "a.py": "x = 2\n"})
    assert [file.path for file in read(folder).files] == ["a.py"]


@pytest.mark.parametrize("content", [b"\0\1\2", KEY.encode(), b"x" * 1_000_001])
def test_content_that_is_not_code_is_only_named(tmp_path: Path, content: bytes) -> None:
    """A binary file, a private key and a huge file have a name and no diff, in either version."""
    folder = repository(tmp_path, {"old.dat": content, "a.py": "x = 1\n"}, "first")
    stage(folder, {"old.dat": "text\n", "new.dat": b"1\n" + content, "a.py": "x = 2\n"})
    assert {file.title: bool(file.diff) for file in read(folder).files} == {
        "a.py": True,
        "new.dat (new)": False,
        "old.dat": False,
    }


def test_the_first_commit(tmp_path: Path) -> None:
    """A repository without a commit has staged files, and no subjects."""
    changes = read(repository(tmp_path, {"a.py": "x = 1\n"}))
    assert ([file.title for file in changes.files], changes.subjects) == (["a.py (new)"], ())


def test_the_index_of_a_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index that git names to a hook counts; an index of a different repository does not."""
    folder = repository(tmp_path, {"a.py": "x = 1\n"}, "first")
    stage(folder, {"a.py": "x = 2\n"})
    (folder / ".git/index").rename(folder / ".git/next-index.lock")
    git(folder, "read-tree", "HEAD")
    with pytest.raises(InvalidRequestError, match=NOTHING_STAGED):
        read(folder)
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/next-index.lock")
    assert [file.path for file in read(folder).files] == ["a.py"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/index"))
    with pytest.raises(InvalidRequestError, match=NOTHING_STAGED):
        read(folder)


def test_programs_of_the_repository_do_not_run(tmp_path: Path) -> None:
    """Neither an external diff nor a text conversion of the repository's configuration runs."""
    folder = repository(tmp_path, {"a.py": "x = 1\n", ".gitattributes": "*.py diff=evil\n"}, "first")
    for setting in ("diff.external", "diff.evil.command", "diff.evil.textconv"):
        git(folder, "config", setting, f"touch {tmp_path}/ran; false")
    stage(folder, {"a.py": "x = 2\n"})
    assert "+x = 2" in read(folder).files[0].diff
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No repository, nothing staged and no git are a sentence each, with the remedy."""
    with pytest.raises(InvalidRequestError, match="is not in a git repository: open a folder of"):
        read(tmp_path)
    with pytest.raises(InvalidRequestError, match="Nothing is staged: stage the changes"):
        read(repository(tmp_path, {"a.py": "x = 1\n"}, "first"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidRequestError, match=r"git cannot be run: .*Install git"):
        read(tmp_path)
