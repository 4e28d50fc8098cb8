"""Reads and writes the calibrations of models: coefficients in a small JSON file, valid for certain weights only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.system import atomic_files

FORMAT = "pellucid calibration 1"


@dataclass(frozen=True, slots=True)
class CalibrationFile:
    """The file with the calibration of one model in one form.

    ``key`` identifies the weights and their form. A calibration with another key is not used, as it is not valid for them.
    """

    path: Path
    key: str

    def of_variant(self, name: str, made_of: str) -> CalibrationFile:
        """Return the file for an adapted model. ``made_of`` identifies the state of the adapter."""
        return CalibrationFile(self.path.with_name(f"{self.path.stem}+{name}{self.path.suffix}"), f"{self.key}-{made_of}")

    def read(self) -> tuple[dict[str, Any] | None, str | None]:
        """Return the calibration as a JSON object, or None and a sentence with the reason."""
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None, "This model is not calibrated: run `pellucid calibrate` on one of your folders."
        except (OSError, UnicodeDecodeError, ValueError) as error:
            return None, f"The calibration in {self.path.name} cannot be read ({_reason(error)}): run pellucid calibrate again."
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            return None, f"This version of Pellucid cannot read the calibration {self.path.name}: run pellucid calibrate again."
        if record.get("key") != self.key:
            return None, f"The calibration in {self.path.name} was made for other weights: run pellucid calibrate again."
        if not _is_valid_json(record):
            return None, f"The calibration in {self.path.name} is damaged (it is not valid JSON): run pellucid calibrate again."
        return record, None

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace the calibration atomically. Raises ModelError if it cannot be written."""
        write(self.path, record, self.key)

    def delete(self) -> None:
        """Delete the calibration, if there is one."""
        with atomic_files.errors_explained(self.path.parent):
            self.path.unlink(missing_ok=True)


def write(path: Path, record: Mapping[str, Any], key: str) -> None:
    """Write a calibration for the weights of a key, atomically. Raises ModelError if it cannot be written."""
    with atomic_files.errors_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_text(path, json.dumps({"format": FORMAT, "key": key, **record}, indent=1, allow_nan=False))


def _is_valid_json(record: Mapping[str, Any]) -> bool:
    """Return whether a list of models can include it: JSON has no infinite numbers, and UTF-8 no lone surrogates."""
    try:
        json.dumps(record, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not JSON"
