"""The child processes of a process, read from /proc."""

from pathlib import Path


def children_of(process: int, command: str = "") -> set[int]:
    """Return the ids of the children of all of a process's threads, filtered by ``command``."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == process and command.encode() in (stat.parent / "cmdline").read_bytes():
                found.add(int(stat.parent.name))
        except OSError:  # The process has ended.
            continue
    return found
