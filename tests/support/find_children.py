"""The processes that a process has started, read from /proc."""

from pathlib import Path


def children_of(process: int, command: str = "") -> set[int]:
    """The ids of the children of `process` with `command` in their command line, whichever of its threads started them."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == process and command.encode() in (stat.parent / "cmdline").read_bytes():
                found.add(int(stat.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    return found
