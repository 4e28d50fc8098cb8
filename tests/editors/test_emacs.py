"""Emacs with the built-in eglot offers suggestions as completions at point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.required_programs import require_program
from support.servers.http_servers import LiveServer, ScriptedAssistant, spoken

pytestmark = pytest.mark.editor

SCRIPT = Path(__file__).with_name("eglot.el")


def test_eglot(tmp_path: Path, assistant: ScriptedAssistant, model_server: LiveServer) -> None:
    """Completion at point offers and inserts the suggestion, and inline completion is answered."""
    assistant.script = [spoken(text) for text in ("turn", " a", " +", " b", "\n", "\n", "x")]
    file = tmp_path / "sums.py"
    file.write_text("def add(a, b):\n    re\n\n\nprint(add(1, 2))\n")
    settings = {"server": {"url": model_server.url, "start": False}}
    given = {"python": sys.executable, "file": str(file), "settings": settings}
    environment = os.environ | {"EGLOT_TEST": json.dumps(given), "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    command = [require_program("emacs"), "--batch", "-Q", "-l", str(SCRIPT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr

    told = json.loads(done.stdout)
    assert told["candidates"] == ["return a + b"]
    assert told["text"].startswith("def add(a, b):\n    return a + b\n")
    assert "turn a + b" in [item["insertText"] for item in told["inline"]["items"]]
