"""A server starts without the libraries that its first answer does not need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pellucid.serving.server
import pellucid_webui.hosting.mount

UNNEEDED = {
    "aiohttp",  # for remote engines
    "gradio",  # for an opened page
    "httpx",  # for downloads and remote engines
    "jinja2",  # for chats
    "markdown_it",  # for an opened page
    "rich",  # for progress bars
    "tokenizers",  # of the loading thread
    "torch",
    "transformers",
}
"""Libraries that need tenths of a second or more."""

OURS = ("pellucid.api.dialects", "pellucid.completion", "pellucid.fleet", "pellucid_webui.conversations")


@pytest.mark.process
def test_server_starts_without_unneeded_libraries(tmp_path: Path) -> None:
    """A server with local models and a page imports no dialect and no library for later."""
    folders = [
        str(Path(module.__file__ or "").parents[2])
        for module in (pellucid.serving.server, pellucid_webui.hosting.mount)
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "PELLUCID_DATA": str(tmp_path)}
    code = """
import sys
import pellucid.cli.app, pellucid.serving.assemble
from pellucid.config import load_settings
from pellucid.serving.loading import Loading
from pellucid.serving.server import Server
Server(load_settings(), Loading(lambda progress: None))
print(*sys.modules)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()

    assert {"fastapi", "pellucid_webui.hosting.mount"} <= set(found)
    assert [name for name in found if name.partition(".")[0] in UNNEEDED or name.startswith(OURS)] == []
