"""Limits the memory and processes of a program and all its children through the kernel's control groups.

Both versions are used, where this process may make groups: version 2, and version 1 with the
controllers memory and pids. See ``cgroups(7)`` and the kernel's ``admin-guide/cgroup-v2.rst`` and
``admin-guide/cgroup-v1``.
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
"""Time in which killed processes have to leave their group."""

ENTER: Final = (
    'for folder in "$1" "$2"; do echo 0 > "$folder/cgroup.procs" || exit 125; done; shift 2; exec env -i "$@"'
)
"""Moves the shell into the group, then becomes the program, so that all its children start in the
group. Its environment is empty.
"""

_NAME: Final = "pellucid-"
_MOUNT = re.compile(r"(?m)^\d+ \d+ \S+ (?P<root>\S+) (?P<point>\S+) .* - (?P<kind>cgroup2?) \S+ (?P<options>\S+)$")


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A group by its folders: one for each controller in version 1, twice the same one in version 2."""

    memory: Path
    pids: Path

    @property
    def folders(self) -> list[Path]:
        """Each folder once."""
        return list(dict.fromkeys((self.memory, self.pids)))

    @property
    def command(self) -> tuple[str, ...]:
        """The beginning of a command that runs in the group."""
        return ("/bin/sh", "-c", ENTER, "sh", str(self.memory), str(self.pids))

    @property
    def ran_out_of_memory(self) -> bool:
        """True if the kernel killed a process because the group used too much memory."""
        with suppress(OSError):
            for name in ("memory.events", "memory.oom_control"):
                path = self.memory / name
                if path.exists():
                    return re.search(r"(?m)^oom_kill [1-9]", path.read_text()) is not None
        return False


@cache
def parent() -> ControlGroup | None:
    """Find, by trying, the group in which limited groups can be made.

    Return None if there is no such group.

    Groups that a killed process of Pellucid left behind are removed.
    """
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

    On exit, kill its processes and remove it.

    Raises OSError if it cannot be made.
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
    # Limits of swap exist only where the kernel accounts for it.
    more = {"memory.swap.max": 0, "memory.oom.group": 1} if version_2 else {"memory.memsw.limit_in_bytes": memory}
    for name, value in more.items():
        if (made.memory / name).exists():
            _write(made.memory / name, value)


def _write(path: Path, value: int) -> None:
    """Write a file of a group. Raises FileNotFoundError if the kernel has no file of this name."""
    with path.open("r+") as file:
        file.write(str(value))


def _remove(folder: Path, within: float = GRACE_SECONDS) -> None:
    """Kill the processes of a group until it is empty, and remove it; give up after ``within`` seconds."""
    late = time.monotonic() + within
    while folder.exists() and time.monotonic() < late:
        for name, value in (
            ("pids.max", 0),
            ("cgroup.kill", 1),
        ):  # nothing more can start, and with version 2 everything is killed at once
            with suppress(OSError):
                _write(folder / name, value)
        for process in _processes(folder):
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        with suppress(OSError):  # busy until the last process is gone
            folder.rmdir()
        time.sleep(0.001)


def _processes(folder: Path) -> list[int]:
    """Return the processes of a group, without those outside of this process's namespace, which read as 0."""
    try:
        return [process for process in map(int, (folder / "cgroup.procs").read_text().split()) if process > 0]
    except OSError:
        return []


def _sweep(parent: ControlGroup) -> None:
    """Remove groups whose maker has ended without removing them."""
    for folder in parent.folders:
        for left in folder.glob(f"{_NAME}*-*"):
            maker = left.name.removeprefix(_NAME).partition("-")[0]
            if maker.isdecimal() and not Path("/proc", maker).exists():
                _remove(left)


def _candidates(mounts: str, own: str) -> Iterator[ControlGroup]:
    """Yield the group of this process, and in version 2 its parent, because a group with processes cannot limit groups in it.

    ``mounts`` is ``/proc/self/mountinfo`` and ``own`` is ``/proc/self/cgroup``.
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
    """Return the folder of a group; ``root`` is the group that is mounted at ``point``."""
    try:
        folder = point / PurePosixPath(path).relative_to(root)
    except ValueError:
        return point
    return folder if folder.is_dir() else point
