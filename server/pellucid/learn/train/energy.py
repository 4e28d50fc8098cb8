"""Measures the energy of the processor packages with RAPL counters in /sys/class/powercap."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Counter:
    """A file with a count of microjoules, modulo ``wraps``."""

    path: Path
    wraps: int

    def read(self) -> int:
        """Return microjoules. Raises OSError or ValueError if the file cannot be read."""
        return int(self.path.read_text())


def counters(root: Path = ROOT) -> list[Counter]:
    """Return the readable counters of all packages.

    Most virtual machines have no counters; some systems require privileges.
    """
    found = []
    for folder in sorted(root.glob("*-rapl:*")):
        # Parts of a package are included in the package.
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
        """Return the joules of all packages since the last lap; None without a counter."""
        if not self.counters:
            return None
        now = [counter.read() for counter in self.counters]
        used = sum((b - a) % counter.wraps for a, b, counter in zip(self._last, now, self.counters, strict=True))
        self._last = now
        return used / 1e6
