"""Runs commands in separate processes, which end with the test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pellucid.cli.app
import pellucid_webui.hosting.mount

Start = Callable[..., subprocess.Popen[str]]


@contextmanager
def started_commands(code: str, *command: str, **variables: str) -> Iterator[Start]:
    """Yield a function for running Python code with a command line and further options.

    Remaining processes are killed at the end.
    """
    processes: list[subprocess.Popen[str]] = []
    folders = [
        str(Path(file).parents[2]) for file in (pellucid.cli.app.__file__, pellucid_webui.hosting.mount.__file__)
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), **variables}

    def start(*options: str | Path) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", code, *command, *map(str, options)]
        process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()
