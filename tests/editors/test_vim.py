"""The plugin in a real Vim in a terminal: with the real model, and with scripted answers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.editors.polling import until
from support.editors.vim import JOBS, PLUGIN, Vim
from support.required_programs import require_program
from support.servers.http_servers import ScriptedAssistant, live, scripted_state, spoken

HEAD = "def add(a, b):\n    "
TAIL = "\n\n\nprint(add(1, 2))"
SUM = "return a + b"
WAIT_MS = 25
"""The plugin's wait before a request."""


@pytest.fixture(scope="module")
def assistant() -> ScriptedAssistant:
    return ScriptedAssistant()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, assistant: ScriptedAssistant) -> Iterator[Vim]:
    """A Vim with the plugin, the language server and a model server with scripted answers."""
    with live(scripted_state(assistant)) as server, Vim(tmp_path_factory.mktemp("vim"), server.url) as vim:
        yield vim


@pytest.fixture
def ready(served: Vim, assistant: ScriptedAssistant) -> Vim:
    """A Vim with the ghost text SUM at the end of HEAD, in insert mode."""
    say(assistant, "return", " a", " +", " b", "\n", "\n", "x")
    served.edit(HEAD + TAIL + "\n", "j", "A")
    served.until_ghost(SUM)
    return served


def say(assistant: ScriptedAssistant, *texts: str) -> None:
    """Let the model server answer with these tokens."""
    assistant.script = [spoken(text) for text in texts]


@pytest.mark.model
def test_real_model(tmp_path: Path, served_model: str) -> None:
    """The ghost text is only on the screen; <Tab> inserts all, and the server counts both."""
    with Vim(tmp_path, served_model) as vim:
        vim.edit(HEAD + TAIL + "\n", "j", "A")
        ghost = until(lambda: vim.ghost, "ghost text")
        assert vim.text == HEAD + TAIL
        until(lambda: ghost.splitlines()[0] in vim.screen, "ghost text on the screen")
        vim.keys("Tab")
        vim.until_text(HEAD + ghost + TAIL)
        vim.do("call pellucid#client#Request('pellucid/status', {}, {status -> extend(g:, {'report': status})})")
        counts = until(lambda: vim.get("get(g:, 'report', {})"), "the status")["counts"]
        assert (counts["shown"] >= 1, counts["accepted"]) == (True, 1)


def test_accept(ready: Vim) -> None:
    """<Tab> right after typed keys inserts the rest as one undo step; undo brings no ghost text."""
    ready.keys("r", "e", "Tab", "x")
    ready.until_text(HEAD + SUM + "x" + TAIL)
    ready.normal()
    for text in (HEAD + SUM + TAIL, HEAD + "re" + TAIL, HEAD + TAIL):
        ready.keys("u")
        ready.until_text(text)
        assert ready.ghost == ""


def test_type_through_and_words(ready: Vim) -> None:
    """Typed text and accepted words shorten the ghost text, without a request."""
    requests = len(ready.sent("textDocument/inlineCompletion"))
    ready.keys("r", "e")
    ready.until_ghost("turn a + b")
    ready.keys("M-Right")
    ready.until_ghost(" a + b")
    assert ready.text == HEAD + "return" + TAIL
    assert ready.sent("pellucid/didPartiallyAccept")[-1]["acceptedLength"] == len("return")
    assert WAIT_MS not in ready.get("timer_info()->map('v:val.time')")
    assert len(ready.sent("textDocument/inlineCompletion")) == requests
    ready.keys("-")
    until(lambda: len(ready.sent("textDocument/inlineCompletion")) > requests, "a request")


def test_dismiss(ready: Vim) -> None:
    """<C-]> removes the ghost text, and tells the server; the text stays."""
    ready.keys("C-]")
    ready.until_ghost("")
    shown, dismissed = ready.sent("pellucid/didShow")[-1], ready.sent("pellucid/didDismiss")[-1]
    assert shown == dismissed
    assert ready.text == HEAD + TAIL


def test_multibyte(served: Vim, assistant: ScriptedAssistant) -> None:
    """Positions and lengths are right in UTF-16."""
    say(assistant, " '😀é'", " +", " b", "\n", "x")
    served.edit("é😀 =\n", "A")
    served.until_ghost(" '😀é' + b")
    assert "é😀 =" in [call["prefix"] for call in assistant.calls]
    served.keys("M-Right", "M-Right")
    served.until_text("é😀 = '😀é")
    assert served.sent("pellucid/didPartiallyAccept")[-1]["acceptedLength"] == 5
    served.keys("Tab")
    served.until_text("é😀 = '😀é' + b")


def test_block_between_braces(served: Vim, assistant: ScriptedAssistant) -> None:
    """The brace right of the cursor follows the last line, as drawn, and undo removes all lines."""
    say(assistant, "\n", "  b", ":", " 1", "\n", "}", "x")
    served.edit("let a = {}\n", "A", "Left", suffix="js")
    served.until_ghost("  b: 1\n}")
    served.keys("Tab")
    served.until_text("let a = {\n  b: 1\n}")
    served.normal()
    served.keys("u")
    served.until_text("let a = {}")
    assert served.ghost == ""


def test_killed_server(ready: Vim) -> None:
    """A sentence names the end and the remedy; the server comes back only by that command."""
    os.kill(ready.get(JOBS)[0], signal.SIGKILL)
    until(lambda: "the language server ended (signal kill); :Pellucid restart" in ready.screen, "the sentence")
    assert ready.ghost == ""
    ready.keys("x")
    ready.until_text(HEAD + "x" + TAIL)
    assert ready.get(JOBS) == []
    ready.normal()
    ready.keys("u", ":", "Pellucid restart", "Enter", "A")
    ready.until_ghost(SUM)


def test_missing_command(tmp_path: Path) -> None:
    """One sentence names the program, and <Tab> does what the user has mapped."""
    with Vim(tmp_path, cmd=["no-such-program"], vimrc="inoremap <expr> <Tab> 'mine'") as vim:
        vim.edit("")
        until(lambda: "Pellucid: no-such-program is not an executable: install" in vim.screen, "the sentence")
        vim.keys("i", "Tab")
        vim.until_text("mine")
        names = set(vim.get("getcompletion('Pellucid ', 'cmdline')"))
    for file in ("README.md", "doc/pellucid.txt"):
        assert set(re.findall(r"^\|? ?`?:Pellucid (\w+)", (PLUGIN / file).read_text(), re.MULTILINE)) == names


def test_too_old() -> None:
    """Without Vim9 script, as in Neovim, one sentence says what the plugin needs."""
    arguments = ["--clean", "--headless", "--cmd", f"set rtp^={PLUGIN}", "-c", "qa!"]
    done = subprocess.run([require_program("nvim"), *arguments], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == "Pellucid: needs Vim 9.0.185 or newer with +textprop, +popupwin, +job, +channel and +timers."
