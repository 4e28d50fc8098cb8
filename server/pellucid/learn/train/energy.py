"""Energy where a counter exists: RAPL, which Linux shows in /sys/class/powercap, of the whole processor package."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Counter:
    """Microjoules so far, in a file; behind ``wraps`` of them it begins anew."""

    path: Path
    wraps: int

    def read(self) -> int:
        """Microjoules. Raises OSError or ValueError where they may not be read."""
        return int(self.path.read_text())


def counters(root: Path = ROOT) -> list[Counter]:
    """The counters of the packages that this process may read; none on most virtual machines, and without the right to."""
    found = []
    for folder in sorted(root.glob("*-rapl:*")):
        if folder.name.count(":") != 1:  # a part of a package, whose energy is in the package's
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
    """Joules since it was made or last asked; None where nothing counts. It has to be asked before a counter wraps twice."""

    counters: list[Counter] = field(default_factory=counters)
    _last: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._last = [counter.read() for counter in self.counters]

    def lap(self) -> float | None:
        """Joules since the last time, of everything that the machine did."""
        if not self.counters:
            return None
        now = [counter.read() for counter in self.counters]
        used = sum((b - a) % counter.wraps for a, b, counter in zip(self._last, now, self.counters, strict=True))
        self._last = now
        return used / 1e6
