"""Tests of energy, read from counters, and unknown without counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.learn.train.energy import EnergyMeter, counters


def package(root: Path, name: str, microjoules: int) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "max_energy_range_uj").write_text("1000000\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_packages_are_added_up_and_wrap(tmp_path: Path) -> None:
    """Joules are of all packages since the last lap, across a wrap, and parts count once."""
    first, second = package(tmp_path, "intel-rapl:0", 100), package(tmp_path, "intel-rapl:1", 900_000)
    package(tmp_path, "intel-rapl:0:0", 50)
    meter = EnergyMeter(counters(tmp_path))
    first.write_text("500100\n")
    second.write_text("100000\n")
    assert meter.lap() == pytest.approx(0.5 + 0.2)
    assert meter.lap() == 0


def test_no_counter(tmp_path: Path) -> None:
    """Without a readable counter there is no figure."""
    assert EnergyMeter(counters(tmp_path)).lap() is None
    package(tmp_path, "intel-rapl:0", 100).unlink()
    assert counters(tmp_path) == []
