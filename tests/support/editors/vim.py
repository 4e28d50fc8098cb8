"""Drives a Vim in a terminal with keys, and looks into the Vim over a channel."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any, Self

from support.editors.polling import until
from support.editors.tmux import Terminal

PLUGIN = Path(__file__).parents[3] / "editors" / "vim"
GHOST = "prop_list(1, #{end_lnum: -1, types: ['PellucidGhost']})->reverse()->map('v:val.text')"
JOBS = "job_info()->map('job_info(v:val)')->filter('v:val.status == \"run\"')->map('v:val.process')"


class Vim:
    """A Vim with the plugin; ``home`` is an empty folder for all files.

    ``options`` are the plugin's; Vim runs the line ``vimrc`` before the plugin.
    """

    def __init__(self, home: Path, server: str = "", vimrc: str = "", **options: Any) -> None:
        self.home = home
        self._files = 0
        self._log = home / "channel.log"
        self._listener = socket.create_server(("127.0.0.1", 0))
        settings = {"server": {"url": server, "start": False}, "completion": {"level": "eager", "budgetMs": 0}}
        given = {"cmd": [sys.executable, "-m", "pellucid", "lsp"], "settings": settings} | options
        lines = (
            "set nocompatible hidden noswapfile autoindent shiftwidth=4 expandtab timeoutlen=9999",
            f"call ch_logfile('{self._log}', 'w')",
            f"let test = ch_open('127.0.0.1:{self._listener.getsockname()[1]}')",
            f"let g:pellucid = json_decode('{json.dumps(given)}')",
            f"set runtimepath^={PLUGIN} | filetype plugin on",
            vimrc,
        )
        (home / "vimrc").write_text("\n".join(lines))
        homes = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"), str(home))
        self._terminal = Terminal(home, ["vim", "-i", "NONE", "-u", str(home / "vimrc")], homes)

    def __enter__(self) -> Self:
        self._terminal.__enter__()
        self._listener.settimeout(60)
        with self._listener, self._listener.accept()[0] as connection:
            self._channel = connection.makefile("rw")
        return self

    def __exit__(self, *_: object) -> None:
        self._terminal.__exit__()
        self._channel.close()

    def get(self, expression: str) -> Any:
        """Return the value of an expression, in any mode."""
        self._send("expr", expression, -1)
        return json.loads(self._channel.readline())[1]

    def do(self, command: str) -> None:
        self._send("ex", command)

    def _send(self, *message: str | int) -> None:
        self._channel.write(json.dumps(message) + "\n")
        self._channel.flush()

    def keys(self, *keys: str) -> None:
        """Press keys, by tmux's names of keys."""
        self._terminal.keys(*keys)

    def normal(self) -> None:
        """End insert mode, but not by Escape, with which the arrows' keys begin."""
        if self.get("mode()") != "n":
            self.keys("C-\\", "C-n")
            until(lambda: self.get("mode()") == "n", "normal mode")

    def edit(self, text: str, *keys: str, suffix: str = "py") -> None:
        """Open a new file with exactly this text in normal mode, and press keys."""
        self._files += 1
        path = self.home / f"file{self._files}.{suffix}"
        path.write_text(text)
        self.normal()
        self.do(f"edit! {path}")
        assert self.get("expand('%:p')") == str(path)  # Keys could overtake the command.
        self.keys(*keys)

    @property
    def screen(self) -> str:
        return self._terminal.screen

    @property
    def text(self) -> str:
        return "\n".join(self.get("getline(1, '$')"))

    @property
    def ghost(self) -> str:
        return "\n".join(self.get(GHOST))

    def until_ghost(self, wanted: str) -> None:
        """Wait for exactly this ghost text."""
        until(lambda: self.ghost == wanted or None, f"the ghost text {wanted!r}")

    def until_text(self, wanted: str) -> None:
        """Wait until the buffer has exactly this text."""
        until(lambda: self.text == wanted or None, f"the text {wanted!r}")

    def sent(self, method: str) -> list[Any]:
        """Return the parameters of the messages of a method to the language server."""
        found = re.findall(rf'^(\{{"method":"{method}",.*\}})\'$', self._log.read_text(errors="replace"), re.MULTILINE)
        return [json.loads(text)["params"] for text in found]
