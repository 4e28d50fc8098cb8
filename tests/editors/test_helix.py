"""Helix, without ghost text, offers suggestions in the completion menu."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from support.editors.polling import until
from support.editors.tmux import Terminal
from support.servers.http_servers import LiveServer, ScriptedAssistant, spoken

LANGUAGES = """
[language-server.pellucid]
command = {command}
args = ["-m", "pellucid", "lsp"]
config = {{ server = {{ url = {url}, start = false }} }}

[[language]]
name = "python"
language-servers = ["pellucid"]
"""


def test_completion_menu(tmp_path: Path, assistant: ScriptedAssistant, model_server: LiveServer) -> None:
    """The menu offers the suggestion, and Tab and Enter insert the suggestion into the file."""
    assistant.script = [spoken(text) for text in ("turn", " a", " +", " b", "\n", "\n", "x")]
    helix = tmp_path / "helix"
    helix.mkdir()
    (helix / "languages.toml").write_text(
        LANGUAGES.format(command=json.dumps(sys.executable), url=json.dumps(model_server.url))
    )
    file, log = tmp_path / "sums.py", tmp_path / "log"
    file.write_text("def add(a, b):\n    \n\n\nprint(add(1, 2))\n")
    log.touch()
    homes = dict.fromkeys(
        ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"), str(tmp_path)
    )
    with Terminal(tmp_path, ["hx", "-v", "--log", str(log), "-w", str(tmp_path), f"{file}:2"], homes) as terminal:
        until(lambda: "completionProvider" in log.read_text(), "the language server")
        terminal.keys("A", "r", "e", "C-x")
        until(lambda: "return a + b" in terminal.screen, "the menu")
        terminal.keys("Tab")
        until(lambda: "return a + b" in terminal.screen.splitlines()[1], "the suggestion")
        terminal.keys("Enter", "Escape")
        # A key right after Escape would be a key with Alt.
        until(lambda: "NOR" in terminal.screen, "the normal mode")
        terminal.keys(":", "w", "Enter")
        until(lambda: "return a + b" in saved(file), "the saved file")
    assert file.read_text().startswith("def add(a, b):\n    return a + b\n")


def saved(file: Path) -> str:
    """Return a file's text, or an empty string while Helix replaces the file."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
