"""Saved speeds hold for a machine and settings, and a measurement outlasts an estimate."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.config import load_settings
from pellucid.serving.saved_speeds import Speed, add_speeds, read_speeds
from pellucid.system import machine

ESTIMATE, MEASURED = Speed(0.5, 2.0, 10**9, estimated=True), Speed(0.4, None, 10**9, estimated=False)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path))


def test_measured_and_estimated() -> None:
    """A measurement replaces an estimate, and stays when all models are estimated again."""
    add_speeds(load_settings(), {"a": ESTIMATE, "b": ESTIMATE})
    add_speeds(load_settings(), {"a": MEASURED})
    add_speeds(load_settings(), {"a": ESTIMATE, "b": ESTIMATE})

    assert read_speeds(load_settings()) == {"a": MEASURED, "b": ESTIMATE}


def test_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speeds of a different processor, weight form or number of threads are not shown."""
    add_speeds(load_settings(), {"a": ESTIMATE})

    assert read_speeds(load_settings(quant="none")) == {}
    assert read_speeds(load_settings(threads=63)) == {}
    monkeypatch.setattr(machine, "machine", lambda _: {"processor": "faster"})
    assert read_speeds(load_settings()) == {}


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"keystroke": 1}}'])
def test_damaged_file(tmp_path: Path, content: str) -> None:
    """A damaged file has no speeds, and the next speeds replace the file."""
    add_speeds(load_settings(), {"a": ESTIMATE})
    (file,) = tmp_path.glob("speeds/*.json")
    file.write_text(content)

    assert read_speeds(load_settings()) == {}
    add_speeds(load_settings(), {"b": MEASURED})
    assert read_speeds(load_settings()) == {"b": MEASURED}
