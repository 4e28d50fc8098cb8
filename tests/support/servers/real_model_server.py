"""Serves the real model in a separate process, once for all tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from pellucid.config import load_settings
from support.fleet.over_fleet import is_healthy, serve_command

CODER = "qwen2.5-coder-0.5b-instruct"
LOADING = 300.0
"""Maximum seconds for loading, including the packing of a new model."""


@pytest.fixture(scope="session")
def served_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of ``pellucid serve`` with the loaded code model."""
    log = tmp_path_factory.mktemp("serve") / "log"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = serve_command(port, [CODER])
    with (
        log.open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | real_models()) as server,
    ):
        address = f"http://127.0.0.1:{port}"
        late = time.monotonic() + LOADING
        try:
            while not is_healthy(address):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < late, log.read_text()
                time.sleep(0.1)
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, log.read_text()


def real_models() -> dict[str, str]:
    """Settings of a server with this machine's models, without saved prefixes."""
    return {"PELLUCID_CACHE": str(load_settings().cache), "PELLUCID_PREFIX_MEMORY": "0"}
