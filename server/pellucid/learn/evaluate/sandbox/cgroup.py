"""Limits the memory and processes of a program and its children through control groups.

Supports version 2, and version 1 with the controllers memory and pids. See ``cgroups(7)``,
``admin-guide/cgroup-v2.rst`` and ``admin-guide/cgroup-v1``.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

GRACE_SECONDS: Final = 5.0

ENTER: Final = (
    'for folder in "$1" "$2"; do echo 0 > "$folder/cgroup.procs" || exit 125; done; shift 2; exec env -i "$@"'
)
"""Runs a program inside of the group and without environment, so that all children are inside."""

_NAME: Final = "pellucid-"
_MOUNT = re.compile(r"(?m)^\d+ \d+ \S+ (?P<root>\S+) (?P<point>\S+) .* - (?P<kind>cgroup2?) \S+ (?P<options>\S+)$")


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """The folders of a group: equal in version 2, one per controller in version 1."""

    memory: Path
    pids: Path

    @property
    def folders(self) -> list[Path]:
        return list(dict.fromkeys((self.memory, self.pids)))

    @property
    def command(self) -> tuple[str, ...]:
        """The beginning of a command that runs in the group."""
        return ("/bin/sh", "-c", ENTER, "sh", str(self.memory), str(self.pids))

    @property
    def ran_out_of_memory(self) -> bool:
        with suppress(OSError):
            for name in ("memory.events", "memory.oom_control"):
                path = self.memory / name
                if path.exists():
                    return re.search(r"(?m)^oom_kill [1-9]", path.read_text()) is not None
        return False


@cache
def parent() -> ControlGroup | None:
    """Find, by trying, the group for new groups, and remove groups of dead Pellucid processes."""
    with suppress(OSError):
        for found in _candidates(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()):
            with suppress(OSError, subprocess.SubprocessError):
                _sweep(found)
                with limited(found, 1 << 30, 64) as made:
                    subprocess.run([*made.command, "true"], check=True, capture_output=True, timeout=GRACE_SECONDS)  # noqa: S603 - our own command
                return found
    return None


@contextmanager
def limited(parent: ControlGroup, memory: int, processes: int) -> Iterator[ControlGroup]:
    """Make a group limited to ``memory`` bytes and ``processes`` processes and threads.

    On exit, kill the processes and remove the group.
    """
    name = f"{_NAME}{os.getpid()}-{secrets.token_hex(4)}"
    made = ControlGroup(parent.memory / name, parent.pids / name)
    try:
        for folder in made.folders:
            folder.mkdir()
        _limit(made, memory, processes)
        yield made
    finally:
        for folder in made.folders:
            _remove(folder)


def _limit(made: ControlGroup, memory: int, processes: int) -> None:
    version_2 = (made.memory / "memory.max").exists()
    _write(made.memory / ("memory.max" if version_2 else "memory.limit_in_bytes"), memory)
    _write(made.pids / "pids.max", processes)
    # Only on kernels with swap accounting.
    more = {"memory.swap.max": 0, "memory.oom.group": 1} if version_2 else {"memory.memsw.limit_in_bytes": memory}
    for name, value in more.items():
        if (made.memory / name).exists():
            _write(made.memory / name, value)


def _write(path: Path, value: int) -> None:
    """Write a file of a group. Raises FileNotFoundError if the kernel has no such file."""
    with path.open("r+") as file:
        file.write(str(value))


def _remove(folder: Path, within: float = GRACE_SECONDS) -> None:
    """Kill the processes of a group and remove the group; give up after ``within`` seconds."""
    late = time.monotonic() + within
    while folder.exists() and time.monotonic() < late:
        # No process can start any more. Version 2 kills all processes at once.
        for name, value in (("pids.max", 0), ("cgroup.kill", 1)):
            with suppress(OSError):
                _write(folder / name, value)
        for process in _processes(folder):
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        # Busy until the last process is gone.
        with suppress(OSError):
            folder.rmdir()
        time.sleep(0.001)


def _processes(folder: Path) -> list[int]:
    """Return the processes of a group, except processes outside of the PID namespace (0)."""
    try:
        return [process for process in map(int, (folder / "cgroup.procs").read_text().split()) if process > 0]
    except OSError:
        return []


def _sweep(parent: ControlGroup) -> None:
    for folder in parent.folders:
        for left in folder.glob(f"{_NAME}*-*"):
            maker = left.name.removeprefix(_NAME).partition("-")[0]
            if maker.isdecimal() and not Path("/proc", maker).exists():
                _remove(left)


def _candidates(mounts: str, own: str) -> Iterator[ControlGroup]:
    """Yield the group of this process, and in version 2 also the parent group.

    A version 2 group with processes cannot limit groups below. ``mounts`` is
    ``/proc/self/mountinfo`` and ``own`` is ``/proc/self/cgroup``.
    """
    paths = {
        name: path for _, names, path in (line.split(":", 2) for line in own.splitlines()) for name in names.split(",")
    }
    folders: dict[str, Path] = {}
    for mount in _MOUNT.finditer(mounts):
        for name in mount["options"].split(",") if mount["kind"] == "cgroup" else ("",):
            if name in paths:
                folders[name] = _within(Path(mount["point"]), mount["root"], paths[name])
    if "" in folders:
        yield from (
            ControlGroup(one, one) for one in (folders[""], folders[""].parent) if (one / "cgroup.procs").exists()
        )
    if folders.keys() >= {"memory", "pids"}:
        yield ControlGroup(folders["memory"], folders["pids"])


def _within(point: Path, root: str, path: str) -> Path:
    """Return the folder of a group; ``root`` is the group mounted at ``point``."""
    try:
        folder = point / PurePosixPath(path).relative_to(root)
    except ValueError:
        return point
    return folder if folder.is_dir() else point
