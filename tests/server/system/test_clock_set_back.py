"""The wall clock may be set back: only dates use the clock, and any other file time is a change."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid
import pellucid_lsp
import pellucid_webui
from pellucid.completion.off_switch import Switch
from pellucid.models import load
from pellucid.models.fingerprint import fingerprint

HOUR_NS = 3600 * 10**9

DATES = {
    "pellucid/api/dialects/mistral/fim.py",
    "pellucid/api/dialects/ollama/fields.py",
    "pellucid/api/dialects/openai/chat.py",
    "pellucid/api/dialects/openai/completions.py",
    "pellucid/api/dialects/openai/response_reply.py",
    "pellucid/api/dialects/openai/responses.py",
    "pellucid/api/server_state.py",
    "pellucid/bench/command.py",
    "pellucid/completion/trust/suggestion_log.py",
    "pellucid/learn/calibrate/command.py",
    "pellucid/learn/calibrate/edits_command.py",
    "pellucid/learn/evaluate/results.py",
    "pellucid/learn/finetune/pipeline.py",
    "pellucid/serving/model_loading.py",
    "pellucid/text/template_renderer.py",
    "pellucid_webui/conversations/exchange/import_export.py",
    "pellucid_webui/conversations/storage/blind_reviews.py",
    "pellucid_webui/conversations/storage/store.py",
    "pellucid_webui/hosting/login_sessions.py",
    "pellucid_webui/inspection/batch/comparison_batch.py",
    "pellucid_webui/inspection/comparison.py",
}
"""The files with dates.

Dates of the page's sessions and conversations outlive the process; tests for these dates set the
clock.
"""

WALL = {
    ("time", "time"),
    ("time", "time_ns"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}


def wall_clocks(path: Path) -> Iterator[int]:
    """Return the lines with a call of the wall clock."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in WALL:
            yield node.lineno


def test_durations_are_monotonic() -> None:
    """Only the files with dates use the wall clock; waits, limits and idle times do not."""
    found = set()
    for package in (pellucid, pellucid_lsp, pellucid_webui):
        (folder, *_) = package.__path__
        for path in Path(folder).rglob("*.py"):
            if any(wall_clocks(path)):
                found.add(path.relative_to(Path(folder).parent).as_posix())
    assert found == DATES


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.safetensors"
    path.write_bytes(b"before")
    return path


def rewrite_an_hour_earlier(path: Path, data: bytes) -> None:
    """Write data of the same size, with an earlier time."""
    before = path.stat()
    assert before.st_size == len(data)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - HOUR_NS))


def test_fingerprints(file: Path) -> None:
    """Weights exchanged after the clock was set back have another fingerprint."""
    before = fingerprint([file]), load._fingerprint([file])
    rewrite_an_hour_earlier(file, b"after!")
    after = fingerprint([file]), load._fingerprint([file])
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_switch(tmp_path: Path) -> None:
    """An editor notices a switch file rewritten after the clock was set back."""
    path = tmp_path / "switch.json"
    path.write_text('{"off": true, "folders_off": []} ')
    switch = Switch(path, ["/a"])
    assert not switch.everywhere
    rewrite_an_hour_earlier(path, b'{"off": false, "folders_off": []}')
    assert switch.everywhere
