"""What ``pellucid calibrate`` found of a model, kept beside it: coefficients in a small JSON file, for these weights only."""

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
    """Where the calibration of one model in one form is kept.

    ``key`` says which weights and which form: a calibration of others is not used, as it says nothing about these.
    """

    path: Path
    key: str

    def of_variant(self, name: str, made_of: str) -> CalibrationFile:
        """Where that of an adapted model is kept; ``made_of`` tells one state of the adapter from another."""
        return CalibrationFile(self.path.with_name(f"{self.path.stem}+{name}{self.path.suffix}"), f"{self.key}-{made_of}")

    def read(self) -> tuple[dict[str, Any] | None, str | None]:
        """The calibration as a JSON object, or None and a sentence that says why there is none to use."""
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None, "The model was not calibrated: run pellucid calibrate on a folder of yours."
        except (OSError, UnicodeDecodeError, ValueError) as error:
            return None, f"The calibration in {self.path.name} cannot be read ({_said(error)}): run pellucid calibrate again."
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            return None, f"{self.path.name} is no calibration that this version of Pellucid can read: run pellucid calibrate again."
        if record.get("key") != self.key:
            return None, f"The calibration in {self.path.name} was made for other weights than these: run pellucid calibrate again."
        if not _can_travel(record):
            return None, f"The calibration in {self.path.name} is damaged (not all of it can be sent on): run pellucid calibrate again."
        return record, None

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace the calibration, whole or not at all. Raises ModelError where the disk refuses."""
        write(self.path, record, self.key)

    def delete(self) -> None:
        """Delete it, if there is one."""
        with atomic_files.errors_explained(self.path.parent):
            self.path.unlink(missing_ok=True)


def write(path: Path, record: Mapping[str, Any], key: str) -> None:
    """Write a calibration for the weights of a key, whole or not at all. Raises ModelError where the disk refuses."""
    with atomic_files.errors_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_text(path, json.dumps({"format": FORMAT, "key": key, **record}, indent=1, allow_nan=False))


def _can_travel(record: Mapping[str, Any]) -> bool:
    """Whether it can be told with every list of models: numbers that are not finite are no JSON, and half a surrogate pair is no text."""
    try:
        json.dumps(record, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def _said(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not JSON"
