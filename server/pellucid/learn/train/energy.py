"""Measures the energy of the whole processor package with RAPL counters, which Linux shows in /sys/class/powercap."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Counter:
    """A file with microjoules so far, which starts over after ``wraps`` of them."""

    path: Path
    wraps: int

    def read(self) -> int:
        """Return microjoules. Raises OSError or ValueError if they cannot be read."""
        return int(self.path.read_text())


def counters(root: Path = ROOT) -> list[Counter]:
    """Return the readable counters of all packages.

    Most virtual machines have none, and others may need privileges.
    """
    found = []
    for folder in sorted(root.glob("*-rapl:*")):
        if folder.name.count(":") != 1:  # a part of a package is included in the package
            continue
        try:
            counter = Counter(folder / "energy_uj", int((folder / "max_energy_range_uj").read_text()))
            counter.read()
        except (OSError, ValueError):
            continue
        found.append(counter)
    return found


@dataclass
class EnergyMeter:
    """Joules since the last lap; None without a counter.

    Each counter must be read before it wraps twice.
    """

    counters: list[Counter] = field(default_factory=counters)
    _last: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._last = [counter.read() for counter in self.counters]

    def lap(self) -> float | None:
        """Return the joules of the whole machine since the last lap."""
        if not self.counters:
            return None
        now = [counter.read() for counter in self.counters]
        used = sum((b - a) % counter.wraps for a, b, counter in zip(self._last, now, self.counters, strict=True))
        self._last = now
        return used / 1e6
