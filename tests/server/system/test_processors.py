"""The number of threads to compute with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from pellucid.system.processors import usable_cores

V2 = {"proc/self/cgroup": "0::/app/worker\n"}
V1 = {"proc/self/cgroup": "3:cpu,cpuacct:/app\n2:memory:/app\n"}
PAIRS = {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n % 4},{n % 4 + 4}\n" for n in range(8)}


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with eight processors, all usable."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        (PAIRS, 4),
        (PAIRS | V2 | {"sys/fs/cgroup/app/worker/cpu.max": "max 100000"}, 4),
        (PAIRS | V2 | {"sys/fs/cgroup/app/worker/cpu.max": "250000 100000"}, 2),
        (
            PAIRS
            | V2
            | {"sys/fs/cgroup/app/worker/cpu.max": "max 100000", "sys/fs/cgroup/app/cpu.max": "300000 100000"},
            3,
        ),
        (PAIRS | V2 | {"sys/fs/cgroup/app/worker/cpu.max": "50000 100000"}, 1),
        (
            PAIRS
            | V1
            | {"sys/fs/cgroup/cpu/app/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/app/cpu.cfs_period_us": "100000"},
            4,
        ),
        (
            PAIRS
            | V1
            | {"sys/fs/cgroup/cpu/app/cpu.cfs_quota_us": "200000", "sys/fs/cgroup/cpu/app/cpu.cfs_period_us": "100000"},
            2,
        ),
        (V2 | {"sys/fs/cgroup/app/worker/cpu.max": "1600000 100000"}, 8),
    ],
)
def test_cores(tmp_path: Path, files: Mapping[str, str], expected: int) -> None:
    """Siblings count once, limits of the control group and parents apply, and a core remains."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert usable_cores(tmp_path) == expected


def test_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors outside of the process's affinity do not count."""
    for name, text in PAIRS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 4, 5}, raising=False)

    assert usable_cores(tmp_path) == 2
