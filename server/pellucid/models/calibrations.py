"""Calibrations of models: coefficients in a small JSON file, valid for certain weights only.

Catalog models have built-in calibrations in ``builtin_calibrations/``, used until ``pellucid
calibrate`` makes a new calibration. Next edits have separate calibrations, built-in in
``builtin_edit_calibrations/``; the default model's calibration is the fallback for all models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from pellucid.models.catalog import DEFAULT_MODEL, catalog
from pellucid.system import atomic_files

FORMAT = "pellucid calibration 1"

EDITS = "edits"
"""Subfolder for the calibrations of next edits."""

NOT_CALIBRATED = "This model is not calibrated: run `pellucid calibrate` on one of your folders."
"""Reported for a model without a calibration."""

NOT_OWN = (
    "No next edits were measured with this model, so the default model's calibration decides: "
    "run `pellucid calibrate --edits`."
)
"""Reported for a model without a calibration of next edits."""


@dataclass(frozen=True, slots=True)
class CalibrationFile:
    """The calibration file of one model in one form.

    ``key`` identifies the weights and the form; a calibration with another key is invalid.
    ``weights`` is the fingerprint of the weights in any form, the key of built-in calibrations.
    """

    path: Path
    key: str
    weights: str | None = None

    command: ClassVar = "pellucid calibrate"

    def of_edits(self) -> EditCalibrationFile:
        return EditCalibrationFile(self.path.parent / EDITS / self.path.name, self.key, self.weights)

    def of_variant(self, name: str, made_of: str) -> CalibrationFile:
        """Return the file for an adapted model, without built-in calibrations.

        ``made_of`` identifies the state of the adapter.
        """
        return CalibrationFile(
            self.path.with_name(f"{self.path.stem}+{name}{self.path.suffix}"), f"{self.key}-{made_of}"
        )

    def read(self) -> tuple[dict[str, Any] | None, str | None]:
        """Return the calibration in the file (a JSON object), else the built-in one, else None.

        The second value is a sentence with the reason if the file is unusable, or if both are
        missing. The reader must check the coefficients.
        """
        builtin = self.builtin()
        record, problem = self._own()
        if record is not None and (builtin is None or record.get("features") == builtin["features"]):
            return record, None
        if record is not None:
            problem = (
                f"The calibration in {self.path.name} was made by another version of Pellucid: "
                "run pellucid calibrate again."
            )
        if builtin is None:
            return None, problem or NOT_CALIBRATED
        return builtin, problem

    def builtin(self) -> dict[str, Any] | None:
        return None if self.weights is None else _builtin("builtin_calibrations").get(self.weights)

    def _own(self) -> tuple[dict[str, Any] | None, str | None]:
        """Return the calibration in the file, else None and the reason (None without a file)."""
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None, None
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not JSON"
            return None, f"The calibration in {self.path.name} cannot be read ({reason}): run {self.command} again."
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            return (
                None,
                f"This version of Pellucid cannot read the calibration {self.path.name}: run {self.command} again.",
            )
        if record.get("key") != self.key:
            return None, f"The calibration in {self.path.name} was made for other weights: run {self.command} again."
        if not _is_valid_json(record):
            return (
                None,
                f"The calibration in {self.path.name} is damaged (it is not valid JSON): run {self.command} again.",
            )
        return record, None

    def write(self, record: Mapping[str, Any]) -> None:
        write(self.path, record, self.key)

    def delete(self) -> None:
        with atomic_files.errors_explained(self.path.parent):
            self.path.unlink(missing_ok=True)


def write(path: Path, record: Mapping[str, Any], key: str) -> None:
    with atomic_files.errors_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_text(path, json.dumps({"format": FORMAT, "key": key, **record}, indent=1, allow_nan=False))


@dataclass(frozen=True, slots=True)
class EditCalibrationFile(CalibrationFile):
    command: ClassVar = "pellucid calibrate --edits"

    def read(self) -> tuple[dict[str, Any], str | None]:
        """Return the calibration in the file, else built-in, else the default model's.

        The second value is a sentence with the reason if the file is unusable, or for the default.
        """
        record, problem = self.measured()
        return (default_edit_calibration(), problem or NOT_OWN) if record is None else (record, problem)

    def measured(self) -> tuple[dict[str, Any] | None, str | None]:
        """Return the calibration in the file, else the built-in calibration, else None.

        The second value is a sentence with the reason if the file is unusable.
        """
        record, problem = self._own()
        if record is not None and record.get("features") == default_edit_calibration()["features"]:
            return record, None
        if record is not None:
            problem = (
                f"The calibration in {self.path.name} was made by another version of Pellucid: "
                f"run {self.command} again."
            )
        return self.builtin(), problem

    def builtin(self) -> dict[str, Any] | None:
        return None if self.weights is None else _builtin("builtin_edit_calibrations").get(self.weights)


def default_edit_calibration() -> dict[str, Any]:
    weights = catalog()[DEFAULT_MODEL].sha256
    assert weights is not None, "the default model is one file"
    return _builtin("builtin_edit_calibrations")[weights]


@cache
def _builtin(name: str) -> dict[str, dict[str, Any]]:
    folder = files("pellucid.models") / name
    records = [json.loads(file.read_text(encoding="utf-8")) for file in folder.iterdir() if file.name.endswith(".json")]
    return {record["key"]: record for record in records}


def _is_valid_json(record: Mapping[str, Any]) -> bool:
    """Return whether the API can send the record: no infinite numbers, no lone surrogates."""
    try:
        json.dumps(record, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True
