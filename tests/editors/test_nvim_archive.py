"""The archive of the Neovim plugin that a release offers."""

from __future__ import annotations

import subprocess
import tarfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_unpacked_archive_is_a_package(tmp_path: Path) -> None:
    """Unpacked into a package folder, the archive gives Neovim a command, help and a module."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    built = subprocess.run(["make", "--silent", "nvim-plugin"], cwd=ROOT, check=True, capture_output=True, text=True)
    archive = Path(built.stdout.strip())
    assert archive.name == f"pellucid.nvim-{version}.tar.gz"
    start = tmp_path / "site/pack/pellucid/start"
    start.mkdir(parents=True)
    with tarfile.open(archive) as files:
        files.extractall(start, filter="data")

    script = (
        f"set packpath={tmp_path}/site | runtime! plugin/**/*.lua | packloadall | helptags ALL | "
        "lua io.write(vim.fn.exists(':Pellucid'), type(require('pellucid').setup), "
        "#vim.fn.getcompletion('pellucid-', 'help'))"
    )
    shown = subprocess.run(
        ["nvim", "--headless", "-u", "NONE", "-i", "NONE", "-c", script, "-c", "qa!"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    command, rest = shown.stdout[:1], shown.stdout[1:]
    assert command == "2"
    assert rest.startswith("function")
    assert int(rest.removeprefix("function")) > 5
