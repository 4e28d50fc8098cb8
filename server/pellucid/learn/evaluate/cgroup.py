"""Control groups: the kernel limits the memory and the processes of a program and of all that it starts, taken together.

Both versions are used, where this process may make groups: version 2, and version 1 with the controllers memory and pids. See
``cgroups(7)`` and the kernel's ``admin-guide/cgroup-v2.rst`` and ``admin-guide/cgroup-v1``.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

GRACE: Final = 5.0
"""Seconds that killed processes have to leave their group."""

ENTER: Final = 'for folder in $1 $2; do echo 0 > "$folder/cgroup.procs" || exit 125; done; shift 2; exec env -i "$@"'
"""Moves the shell into the groups before it becomes the program, which thus starts everything in them; its environment is empty."""

_MOUNT = re.compile(r"(?m)^\d+ \d+ \S+ (?P<root>\S+) (?P<point>\S+) .* - (?P<kind>cgroup2?) \S+ (?P<options>\S+)$")


@dataclass(frozen=True, slots=True)
class Place:
    """Folders in which groups can be made: one for each controller in version 1, twice the same one in version 2."""

    memory: Path
    pids: Path


@dataclass(frozen=True, slots=True)
class Group:
    """The folders of a group."""

    memory: Path
    pids: Path

    @property
    def command(self) -> tuple[str, ...]:
        """The beginning of a command that runs in the group."""
        return ("/bin/sh", "-c", ENTER, "sh", str(self.memory), str(self.pids))

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process because the group used more memory than it may."""
        with suppress(OSError):
            for name in ("memory.events", "memory.oom_control"):
                path = self.memory / name
                if path.exists():
                    return re.search(r"(?m)^oom_kill [1-9]", path.read_text()) is not None
        return False


@cache
def place() -> Place | None:
    """Return where groups with both limits can be made, found by trying; None where there is no such place."""
    with suppress(OSError):
        for found in _places(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()):
            with suppress(OSError), group(found, 1 << 30, 64):
                return found
    return None


@contextmanager
def group(place: Place, memory: int, processes: int) -> Iterator[Group]:
    """Make a group that may use so many bytes and so many processes and threads; kill what is in it and remove it in the end.

    Raises OSError where it cannot be made.
    """
    name = f"pellucid-{os.getpid()}-{secrets.token_hex(4)}"
    made = Group(place.memory / name, place.pids / name)
    folders = dict.fromkeys((made.memory, made.pids))
    try:
        for folder in folders:
            folder.mkdir()
        _limit(made, memory, processes)
        yield made
    finally:
        for folder in folders:
            _remove(folder)


def _limit(made: Group, memory: int, processes: int) -> None:
    version_2 = (made.memory / "memory.max").exists()
    _write(made.memory / ("memory.max" if version_2 else "memory.limit_in_bytes"), memory)
    _write(made.pids / "pids.max", processes)
    # A kernel without swap has neither of these files; the second one says whether one process is killed or all.
    swap = {"memory.swap.max": 0, "memory.oom.group": 1} if version_2 else {"memory.memsw.limit_in_bytes": memory}
    for name, value in swap.items():
        if (made.memory / name).exists():
            _write(made.memory / name, value)


def _write(path: Path, value: int) -> None:
    """Set a limit. Raises FileNotFoundError where the kernel has none of this name."""
    with path.open("r+") as file:
        file.write(str(value))


def _remove(folder: Path, within: float = GRACE) -> None:
    """Kill the processes of a group until it is empty, and remove it; give up after so many seconds."""
    late = time.monotonic() + within
    while folder.exists() and time.monotonic() < late:
        with suppress(OSError):
            for process in map(int, (folder / "cgroup.procs").read_text().split()):
                if process > 0:  # 0 stands for one outside of this process's own namespace, and would be the caller's group for kill
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
        with suppress(OSError):  # busy until the last one is gone
            folder.rmdir()
        time.sleep(0.001)


def _places(mounts: str, own: str) -> Iterator[Place]:
    """Yield the groups of this process, in version 2 also those around them: one that has processes cannot limit groups in it.

    ``mounts`` is ``/proc/self/mountinfo`` and ``own`` is ``/proc/self/cgroup``.
    """
    paths = {name: path for _, names, path in (line.split(":", 2) for line in own.splitlines()) for name in names.split(",")}
    folders: dict[str, Path] = {}
    for mount in _MOUNT.finditer(mounts):
        for name in mount["options"].split(",") if mount["kind"] == "cgroup" else ("",):
            if name in paths:
                folders[name] = _within(Path(mount["point"]), mount["root"], paths[name])
    if "" in folders:
        yield from (Place(one, one) for one in (folders[""], folders[""].parent) if (one / "cgroup.procs").exists())
    if folders.keys() >= {"memory", "pids"}:
        yield Place(folders["memory"], folders["pids"])


def _within(point: Path, root: str, path: str) -> Path:
    """Return the folder of a group; ``root`` is the group that is mounted at ``point``."""
    inside = path.removeprefix(root) if root != "/" else path
    folder = point / inside.lstrip("/")
    return folder if folder.is_dir() else point
