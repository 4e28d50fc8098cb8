"""`pellucid commit` prints a message for the staged changes, or begins a commit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.editors.scripted_editor import LocalEditor, load_here
from support.staged_repository import git, repository, stage

Run = Callable[..., tuple[int, str, str]]
OPENING = 'git commit -m "'


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> LocalEditor:
    """A model loaded in this process, without a server."""
    rests = {OPENING: "Fix a total", f"{OPENING}Use": " a total"}
    writer = LocalEditor("", rests=rests, others={"Fix": "Use"})
    load_here(monkeypatch, writer)
    return writer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a staged change, as the current folder."""
    folder = repository(tmp_path, {"a.py": "x = 1\n"}, "First")
    stage(folder, {"a.py": "x = 2\n"})
    monkeypatch.chdir(folder)
    return folder


def test_a_message(run: Run, model: LocalEditor, folder: Path) -> None:
    """Only the message is on stdout; the model has read the staged lines."""
    code, out, err = run("commit")
    assert (code, out) == (0, "Fix a total\n")
    assert "x = 2" in model.asked[0].messages[2].content
    assert "never sent" not in err
    assert git(folder, "log", "--format=%s") == "First\n"


def test_alternatives_and_records(run: Run, model: LocalEditor, folder: Path) -> None:
    """`--alternatives` prints a line per message, and `--json` the tokens with alternatives."""
    assert run("commit", "--alternatives", "2")[:2] == (0, "Fix a total\nUse a total\n")
    code, out, _ = run("commit", "--json")
    *tokens, last = map(json.loads, out.splitlines())
    assert (code, [token["token"] for token in tokens]) == (0, ["Fix", " a", " total"])
    assert tokens[0]["top"][0]["token"] == "Use"
    assert "finish" in last


def test_edit_begins_a_commit(run: Run, model: LocalEditor, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--edit` opens git's editor with the message, and commits the edited message."""
    for name, value in {"NAME": "A", "EMAIL": "a@example.org"}.items():
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    monkeypatch.setenv("GIT_EDITOR", "sed -i 's/total/sum/'")
    assert run("commit", "--edit")[0] == 0
    assert git(folder, "log", "-1", "--format=%s") == "Fix a sum\n"
    code, _, err = run("commit", "--edit", "--json")
    assert (code, "--edit takes a single message" in err) == (2, True)


def test_what_is_left_out_is_said(run: Run, model: LocalEditor, folder: Path) -> None:
    """A private file is named on stderr and not sent; without staged changes the code is 1."""
    stage(folder, {".env": "PASSWORD = 1\n"})
    code, out, err = run("commit")
    assert (code, out) == (0, "Fix a total\n")
    assert ".env is never sent to the model" in err
    assert "PASSWORD" not in str(model.asked)
    git(folder, "reset", "--quiet", "--hard")
    code, out, err = run("commit")
    assert (code, out) == (1, "")
    assert "Nothing is staged" in err
