"""Measures the memory of descendants, and kills descendants."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GRACE_SECONDS: Final = 5.0

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True, slots=True)
class Process:
    """``memory`` is resident bytes, including shared pages."""

    number: int
    parent: int
    group: int
    state: str
    threads: int
    memory: int


def below(ancestor: int) -> list[Process]:
    """Return all running descendants of a process; [] on a system without /proc."""
    children: dict[int, list[Process]] = {}
    for number, text in all_processes("stat"):
        # The second field is the program's name in parentheses, with arbitrary characters.
        state, parent, group, *fields = text.rpartition(")")[2].split()
        process = Process(number, int(parent), int(group), state, int(fields[14]), int(fields[18]) * PAGE_BYTES)
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = [ancestor]
    while waiting:
        for process in children.get(waiting.pop(), ()):
            waiting.append(process.number)
            if process.state != "Z":
                found.append(process)
    return found


def all_processes(file: str) -> Iterator[tuple[int, str]]:
    """Yield the number of each process, and the text of a file in the process's /proc folder."""
    processes = Path("/proc")
    # Path.glob raises an error if a process ends at the wrong moment.
    for folder in processes.iterdir() if processes.is_dir() else ():
        if folder.name.isdecimal():
            with suppress(OSError):
                yield int(folder.name), (folder / file).read_text(errors="replace")


def kill_strays(driver: int) -> None:
    """End descendants outside of the driver's process group.

    The driver must still run, because orphans become the driver's children.
    """
    with suppress(ProcessLookupError, PermissionError):
        # The group cannot start processes meanwhile.
        os.killpg(driver, signal.SIGSTOP)
    late = time.monotonic() + GRACE_SECONDS
    while (groups := {process.group for process in below(driver)} - {driver}) and time.monotonic() < late:
        for group in groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)


def kill(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Kill the process group (and so the PID namespace, if any) of each process."""
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        # No process is left, or (macOS) only zombies are left.
        except (ProcessLookupError, PermissionError):
            process.kill()
        process.wait(GRACE_SECONDS)
