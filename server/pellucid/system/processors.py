"""The number of compute threads: a thread for each usable physical core."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

_setting = 0


def threads_to_use(setting: int) -> int:
    """Return the compute threads; for 0, OMP_NUM_THREADS, but at most a thread for each core."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return setting or (min(int(stated), usable_cores()) if stated.isdecimal() and int(stated) else usable_cores())


def use_threads(setting: int) -> None:
    """Set the compute threads of models that are loaded later; see threads_to_use."""
    global _setting
    _setting = setting


def compute_threads() -> int:
    return threads_to_use(_setting)


def usable_cores(root: Path = Path("/")) -> int:
    """Count the physical cores that this process may use, limited by the control groups.

    Two threads on a core would only wait for each other, and a control group without remaining time
    is stopped until the next period. ``root`` contains /proc and /sys; missing files impose no
    limit.
    """
    allowed = usable_processors()
    siblings = (root / f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list" for number in allowed)
    cores = len({system_value(path) or path for path in siblings})
    return max(min(cores, *_shares(root), len(allowed)), 1)


def usable_processors() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _shares(root: Path) -> Iterator[int]:
    groups = dict(
        line.split(":", 2)[1:] for line in system_value(root / "proc/self/cgroup").splitlines() if line.count(":") > 1
    )
    top = root / "sys/fs/cgroup"
    for folder in _with_parents(top, groups.get("", "/")):
        quota, _, period = system_value(folder / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal():
            yield int(quota) // int(period)
    controller = next((names for names in groups if "cpu" in names.split(",")), None)
    if controller is not None:
        for folder in _with_parents(top / "cpu", groups[controller]):
            quota, period = system_value(folder / "cpu.cfs_quota_us"), system_value(folder / "cpu.cfs_period_us")
            if quota.isdecimal() and period.isdecimal():
                yield int(quota) // int(period)


def _with_parents(top: Path, group: str) -> Iterator[Path]:
    folder = top / group.lstrip("/")
    yield folder
    yield from (parent for parent in folder.parents if parent.is_relative_to(top))


def system_value(path: Path) -> str:
    """Return the text of a file of the system; empty if the file cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
