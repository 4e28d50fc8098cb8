"""Tests the page in a process that has not imported Gradio before, as in a server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pellucid.door.api_keys
import pellucid_webui.hosting.mount

pytestmark = pytest.mark.process

CODE = """
import asyncio, sys
from pathlib import Path
from pellucid.client.assistant_protocol import shared
from pellucid.client.http_client import Client
from pellucid_webui.hosting.gradio_host import build, pellucid_view
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns

store = ConversationStore(Path(sys.argv[1]) / "conversations.db")
build(pellucid_view, shared(Client("http://127.0.0.1:9")), store, Turns(), 10**6).close()
store.close()
print("made")
"""


def test_page_can_be_made(tmp_path: Path) -> None:
    """The page is created in a fresh process, and leaves no folder behind."""
    folders = [
        str(Path(module.__file__ or "").parents[2]) for module in (pellucid_webui.hosting.mount, pellucid.door.api_keys)
    ]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "TMPDIR": str(temporary)}
    environment.pop("GRADIO_TEMP_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )

    assert done.stdout.endswith("made\n"), done.stderr
    assert list(temporary.iterdir()) == []
