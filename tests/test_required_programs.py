"""Tests skip with the reason if a required program is not installed or too old."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.editors.neovim import Neovim
from support.editors.tmux import Terminal
from support.learn.edited_repositories import git
from support.page.page_fixtures import chromium_path
from support.required_programs import LEAST, require_program
from support.servers.small_disks import can_mount


def install(folder: Path, name: str, version: str) -> None:
    """Put a program on the PATH that prints only a version."""
    (folder / name).write_text(f"#!/bin/sh\necho '{version}'\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (Neovim, "nvim is not installed"),
        (lambda folder: Terminal(folder, ["hx"], {}), "tmux is not installed"),
        (lambda folder: git(folder, "init"), "git is not installed"),
        (lambda _: chromium_path(), "chromium-headless-shell or chromium or chromium-browser is not installed"),
        (lambda _: require_program("emacs"), "emacs is not installed"),
    ],
)
def test_missing(programs: Path, tmp_path: Path, start: Callable[[Path], object], reason: str) -> None:
    """A helper without the required program skips the test, with the program's name."""
    with pytest.raises(pytest.skip.Exception, match=f"^{reason}$"):
        start(tmp_path)


def test_missing_in_a_terminal(programs: Path, tmp_path: Path) -> None:
    """A terminal needs tmux and the program in the terminal."""
    install(programs, "tmux", "tmux 3.5")
    with pytest.raises(pytest.skip.Exception, match=r"^hx is not installed$"):
        Terminal(tmp_path, ["hx"], {})


@pytest.mark.usefixtures("programs")
def test_nothing_can_be_mounted() -> None:
    """Without the programs for mounting, tests with a mounted disk can be skipped."""
    assert not can_mount()


@pytest.mark.parametrize(
    ("name", "printed", "old"),
    [("nvim", "NVIM v{}", "0.9.5"), ("emacs", "GNU Emacs {}", "28.2"), ("hx", "helix {} (a05c151b)", "22.12")],
)
def test_too_old(programs: Path, name: str, printed: str, old: str) -> None:
    """A version below the minimum is a reason to skip; the minimum and later versions are not."""
    least = ".".join(map(str, LEAST[name]))
    install(programs, name, printed.format(old))
    with pytest.raises(pytest.skip.Exception, match=f"^{name} {old} is too old: the tests need {least}$"):
        require_program(name)
    for version in (f"{least}.1", "99.0"):
        install(programs, name, printed.format(version))
        assert require_program(name) == str(programs / name)
