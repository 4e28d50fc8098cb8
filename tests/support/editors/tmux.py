"""Runs a program in a terminal."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Self

from support.required_programs import require_program

SIZE = (90, 24)


class Terminal:
    """A tmux server with a window for ``command``, with a socket in ``folder``.

    ``environment`` is added to the process's environment.
    """

    def __init__(self, folder: Path, command: list[str], environment: dict[str, str]) -> None:
        require_program("tmux")
        program, *arguments = command
        self.socket = folder / "tmux"
        columns, lines = map(str, SIZE)
        settings = [f"{name}={value}" for name, value in environment.items()]
        line = shlex.join(["env", *settings, require_program(program), *arguments])
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", lines, line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")

    def keys(self, *keys: str) -> None:
        """Press keys, by tmux's names of keys."""
        self._tmux("send-keys", *keys)

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self.socket), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
