"""The power source by Linux's list of power supplies."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.system.power_source import discharges

BATTERY = {"type": "Battery", "status": "Discharging"}
MAINS = {"type": "Mains", "online": "1"}
PULLED = {"type": "Mains", "online": "0"}
CHARGING = {"type": "Battery", "status": "Charging"}
MOUSE = {"type": "Battery", "status": "Discharging", "scope": "Device"}


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ([], False),
        ([BATTERY], True),
        ([BATTERY, PULLED], True),
        ([BATTERY, MAINS], False),
        ([CHARGING, MAINS], False),
        ([CHARGING], False),
        ([MOUSE], False),
        ([{"type": "Battery"}, {}], False),
    ],
)
def test_discharging(tmp_path: Path, supplies: list[dict[str, str]], expected: bool) -> None:
    """Only a discharging battery of the computer without mains counts as running on battery."""
    for number, supply in enumerate(supplies):
        (tmp_path / str(number)).mkdir()
        for name, value in supply.items():
            (tmp_path / str(number) / name).write_text(f"{value}\n")
    assert discharges(tmp_path) is expected


def test_missing_folder(tmp_path: Path) -> None:
    """A system without the folder does not run on battery, as far as known."""
    assert not discharges(tmp_path / "absent")
