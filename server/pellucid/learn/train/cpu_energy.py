"""Measures the energy of processor packages with RAPL counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Counter:
    """A file with microjoules, modulo ``wraps``."""

    path: Path
    wraps: int

    def read(self) -> int:
        """Return microjoules."""
        return int(self.path.read_text())


def counters(root: Path = ROOT) -> list[Counter]:
    """Return the readable counters: most virtual machines have none, some systems deny access."""
    found = []
    for folder in sorted(root.glob("*-rapl:*")):
        # Part of a package, already included.
        if folder.name.count(":") != 1:
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
    """Joules since the last lap. Each counter must be read before wrapping twice."""

    counters: list[Counter] = field(default_factory=counters)
    _last: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._last = [counter.read() for counter in self.counters]

    def lap(self) -> float | None:
        if not self.counters:
            return None
        now = [counter.read() for counter in self.counters]
        used = sum((b - a) % counter.wraps for a, b, counter in zip(self._last, now, self.counters, strict=True))
        self._last = now
        return used / 1e6
