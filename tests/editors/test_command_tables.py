"""The tables of commands in the editors' documents name exactly the commands that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

from support.editors.neovim import Neovim

EDITORS = Path(__file__).parents[2] / "editors"


def commands_section(name: str) -> str:
    """Return the section "Commands" of a README."""
    text = (EDITORS / name / "README.md").read_text()
    return text.partition("\n## Commands\n")[2].partition("\n## ")[0]


def test_commands_of_neovim(tmp_path: Path) -> None:
    """README and help name each subcommand with the arguments, and no unknown subcommand."""
    with Neovim(tmp_path) as vim:
        vim.setup("", cmd=["no-such-program"])
        names = set(vim.lua("return require('pellucid.command').complete('')"))
        completed = {
            name: vim.lua("return require('pellucid.command').complete('', ...)", f"Pellucid {name} ") for name in names
        }
    # Without arguments of its own, a subcommand completes subcommands.
    arguments = {f"{name} {one}" for name, found in completed.items() if set(found) != names for one in found}
    default = {"surprise on"}
    cells = re.findall(r"^\| (`.*?) \|", commands_section("nvim"), re.MULTILINE)
    shown = {one.removeprefix(":Pellucid ") for cell in cells for one in re.findall(r"`([^`]+)`", cell)}
    assert shown == names | arguments - default
    text = (EDITORS / "nvim/doc/pellucid.txt").read_text()
    described = set(re.findall(r"^:Pellucid (\w+!?)", text, re.MULTILINE))
    assert described == names
    assert set(re.findall(r"\*:Pellucid-(\w+)\*", text)) == {name.rstrip("!") for name in names}


def test_commands_of_vscode() -> None:
    """The table has the title of each command in the extension's manifest, and no unknown title."""
    manifest = json.loads((EDITORS / "vscode/package.json").read_text())
    titles = [command["title"] for command in manifest["contributes"]["commands"]]
    rows = re.findall(r"^\| _(.+?)_ +\|", commands_section("vscode"), re.MULTILINE)
    assert sorted(rows) == sorted(titles)
