"""A calibration is valid for the calibrated weights, and is otherwise reported and not used."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from pellucid.completion.edits.edit_gate import EditGate
from pellucid.completion.trust.calibration import Calibration
from pellucid.errors import ModelError, NotFoundError
from pellucid.models.calibrations import FORMAT, NOT_OWN, CalibrationFile, default_edit_calibration
from pellucid.models.catalog import DEFAULT_MODEL, catalog
from pellucid.models.store import Store
from pellucid.system.progress import Silent

FOUND = {"kind": "raw", "numbers": []}


@pytest.fixture
def file(tmp_path: Path) -> CalibrationFile:
    return CalibrationFile(tmp_path / "calibrations" / "m+int8.json", "weights-int8")


def test_round_trip(file: CalibrationFile) -> None:
    """A written calibration is read unchanged, for the same weights."""
    file.write(FOUND)
    assert file.read() == ({"format": FORMAT, "key": "weights-int8", **FOUND}, None)
    file.delete()
    assert file.read() == (None, "This model is not calibrated: run `pellucid calibrate` on one of your folders.")


def test_other_weights(file: CalibrationFile) -> None:
    """A calibration of different weights, or of a different form, is not used."""
    file.write(FOUND)
    record, note = replace(file, key="other-int8").read()
    assert record is None
    assert note == "The calibration in m+int8.json was made for other weights: run pellucid calibrate again."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff\xfe", "cannot be read (it is not JSON)"),
        (b'{"format": "pell', "cannot be read (it is not JSON)"),
        (b"[]", "This version of Pellucid cannot read the calibration"),
        (b'{"format": "pellucid calibration 99"}', "This version of Pellucid cannot read the calibration"),
        (
            b'{"format": "pellucid calibration 1", "key": "weights-int8", "low": -Infinity}',
            "is damaged (it is not valid JSON)",
        ),
        (
            b'{"format": "pellucid calibration 1", "key": "weights-int8", "costs": [1e999]}',
            "is damaged (it is not valid JSON)",
        ),
        (
            b'{"format": "pellucid calibration 1", "key": "weights-int8", "about": "\\ud800"}',
            "is damaged (it is not valid JSON)",
        ),
    ],
)
def test_unreadable(file: CalibrationFile, content: bytes, sentence: str) -> None:
    """A damaged calibration, or a calibration of a different version, is reported with a remedy."""
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    record, note = file.read()
    assert record is None
    assert note is not None
    assert sentence in note
    assert note.endswith("run pellucid calibrate again.")


def test_builtin(file: CalibrationFile) -> None:
    """Weights of the catalog have a built-in calibration until a valid own file replaces it."""
    weights = catalog()[DEFAULT_MODEL].sha256
    known, other = replace(file, weights=weights), replace(file, weights="0" * 64)
    record, note = known.read()
    assert record is not None
    assert (record["key"], note) == (weights, None)
    assert other.read()[0] is None
    file.write({**FOUND, "features": record["features"]})
    assert known.read()[0] == file.read()[0]
    file.write({**FOUND, "features": {"version": 1}})
    assert known.read() == (
        record,
        "The calibration in m+int8.json was made by another version of Pellucid: run pellucid calibrate again.",
    )
    file.path.write_text("{")
    assert known.read() == (
        record,
        "The calibration in m+int8.json cannot be read (it is not JSON): run pellucid calibrate again.",
    )


def test_builtin_is_usable() -> None:
    """Each built-in calibration is readable, for the catalog's weights, and for no variant."""
    names = [file.name.removesuffix(".json") for file in (files("pellucid.models") / "builtin_calibrations").iterdir()]
    assert DEFAULT_MODEL in names
    for name in names:
        file = CalibrationFile(Path("none.json"), "key", catalog()[name].sha256)
        record = file.builtin()
        assert record is not None
        assert Calibration.read(record).about["model"] == name
        assert file.of_variant("mine", "state 1").builtin() is None


def test_of_next_edits(file: CalibrationFile) -> None:
    """Next edits have a separate calibration, by default the default model's, with a note."""
    builtin = default_edit_calibration()
    assert EditGate.read(builtin).about["model"] == DEFAULT_MODEL
    edits = file.of_edits()
    assert edits.read() == (builtin, NOT_OWN)
    assert replace(file, weights=catalog()[DEFAULT_MODEL].sha256).of_edits().read() == (builtin, None)
    edits.write(EditGate(0.1, 0.9).record)
    assert file.read()[0] is None
    record, note = edits.read()
    assert record is not None
    assert (EditGate.read(record), note) == (EditGate(0.1, 0.9), None)
    assert replace(file, key="other-int8").of_edits().read() == (
        builtin,
        "The calibration in m+int8.json was made for other weights: run pellucid calibrate --edits again.",
    )
    assert file.of_variant("mine", "state 1").of_edits().read() == (builtin, NOT_OWN)


def test_of_next_edits_by_another_version(file: CalibrationFile) -> None:
    """A calibration from different features is reported, and a built-in calibration decides."""
    edits = file.of_edits()
    edits.write(EditGate(0.1, 0.9).record | {"features": {"version": 2}})
    sentence = (
        "The calibration in m+int8.json was made by another version of Pellucid: run pellucid calibrate --edits again."
    )
    assert edits.read() == (default_edit_calibration(), sentence)
    assert replace(edits, weights=catalog()[DEFAULT_MODEL].sha256).measured() == (default_edit_calibration(), sentence)
    assert edits.measured() == (None, sentence)


def test_default_among_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default calibration of next edits is found by weights among several calibrations."""
    mine = default_edit_calibration()
    monkeypatch.setattr("pellucid.models.calibrations._builtin", lambda name: {"0": FOUND, mine["key"]: mine})
    assert default_edit_calibration() == mine


def test_of_a_variant(file: CalibrationFile) -> None:
    """A model's calibration does not apply to variants, nor to changed adapters."""
    file.write(FOUND)
    variant = file.of_variant("mine", "state 1")
    assert variant.read()[0] is None
    variant.write(FOUND)
    assert variant.read()[0] is not None
    assert file.of_variant("mine", "state 2").read()[0] is None
    assert file.read()[0] is not None


def test_not_writable(file: CalibrationFile) -> None:
    """A calibration in an unwritable folder raises an error with the reason."""
    file.path.parent.touch()
    with pytest.raises(ModelError, match="cannot be written to"):
        file.write(FOUND)


def test_removed_with_its_model(tmp_path: Path) -> None:
    """Removing a model removes the model's calibrations."""
    store = Store(tmp_path)
    name = "qwen2.5-coder-0.5b-instruct"
    file = CalibrationFile(store.calibration_path(name, "int8"), "k")
    file.write(FOUND)
    file.of_edits().write(FOUND)
    other = CalibrationFile(store.calibration_path("smollm2-135m-instruct", "int8"), "k")
    other.write(FOUND)
    store.remove(name, Silent())
    assert not file.path.exists()
    assert not file.of_edits().path.exists()
    assert other.path.exists()
    with pytest.raises(NotFoundError):
        store.remove(name, Silent())
