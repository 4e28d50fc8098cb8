"""The power source of this computer."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from pathlib import Path

from pellucid.system.processors import system_value

SECONDS_BETWEEN_LOOKS = 30.0

MAINS = ("Mains", "USB")


class PowerSource:
    """Knows whether the computer runs on battery, as far as the system says so."""

    def __init__(self) -> None:
        self._on_battery = False
        self._looked = -SECONDS_BETWEEN_LOOKS

    def on_battery(self) -> bool:
        """Return False if unknown. Asks the system at most every 30 seconds."""
        if time.monotonic() - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = time.monotonic()
            self._on_battery = runs_on_battery()
        return self._on_battery


def runs_on_battery() -> bool:
    if sys.platform == "darwin":
        return "'Battery Power'" in _output_of("pmset", "-g", "batt")
    if sys.platform == "win32":
        status = (ctypes.c_ubyte * 12)()  # SYSTEM_POWER_STATUS; the first byte is ACLineStatus.
        return bool(ctypes.windll.kernel32.GetSystemPowerStatus(status)) and status[0] == 0
    return discharges(Path("/sys/class/power_supply"))


def discharges(folder: Path) -> bool:
    """Return whether Linux's list of power supplies has a discharging battery and no mains."""
    supplies = [(system_value(path / "type"), path) for path in sorted(folder.glob("*"))]
    if any(kind in MAINS and system_value(path / "online") == "1" for kind, path in supplies):
        return False
    # A mouse has a battery, too; its scope is "Device".
    return any(
        kind == "Battery"
        and system_value(path / "status") == "Discharging"
        and system_value(path / "scope") != "Device"
        for kind, path in supplies
    )


def _output_of(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)  # noqa: S603 (constant)
        return done.stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
