"""Emacs with the built-in eglot offers suggestions as completions at point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.required_programs import require_program

pytestmark = pytest.mark.model

SCRIPT = Path(__file__).with_name("eglot.el")


def test_eglot(tmp_path: Path, served_model: str) -> None:
    """Completion at point offers and inserts the suggestion, and inline completion is answered."""
    file = tmp_path / "sums.py"
    file.write_text("def add(a, b):\n    re\n\n\nprint(add(1, 2))\n")
    given = {"python": sys.executable, "file": str(file), "settings": {"server": {"url": served_model, "start": False}}}
    environment = os.environ | {"EGLOT_TEST": json.dumps(given), "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    command = [require_program("emacs"), "--batch", "-Q", "-l", str(SCRIPT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr

    told = json.loads(done.stdout)
    assert told["candidates"] == ["return a + b"]
    assert told["text"].startswith("def add(a, b):\n    return a + b\n")
    assert "turn a + b" in [item["insertText"] for item in told["inline"]["items"]]
