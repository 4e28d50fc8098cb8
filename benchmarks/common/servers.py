"""Starts and ends the servers of a benchmark, Pellucid and llama.cpp, on free local ports."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from pellucid.config import load_settings
from pellucid.models.store import Store, local_path
from pellucid.system.progress import Silent

LOADING_SECONDS = 600.0
"""Maximum seconds for loading a model, including packing at first use."""

EXIT_SECONDS = 30.0
"""Maximum seconds for a server's exit."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server with a loaded model, and the process."""

    url: str
    process: int


@contextmanager
def pellucid_server(*flags: str, data: Path | None = None) -> Iterator[Server]:
    """Run ``pellucid serve`` with flags, by default with an empty data folder."""
    port = free_port()
    with tempfile.TemporaryDirectory() as empty:
        folders = {"PELLUCID_CACHE": str(load_settings().cache), "PELLUCID_DATA": str(data or empty)}
        with _serving(
            [sys.executable, "-m", "pellucid", "serve", "--port", str(port), *flags], port, folders
        ) as server:
            yield server


@contextmanager
def llama_server(folder: Path, model: Path, *flags: str) -> Iterator[Server]:
    """Run ``llama-server`` of ``folder`` with a GGUF file and flags."""
    port = free_port()
    command = [str(folder / "llama-server"), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), *flags]
    with _serving(command, port, {}) as server:
        yield server


def gguf_file(model: str) -> Path:
    """Return the GGUF file of a model, for both sides."""
    path = local_path(model) or Store(load_settings().cache).pull(model, Silent())
    if not path.is_file():
        raise SystemExit(
            f"{model} is a folder, and llama.cpp reads GGUF files: name a .gguf, or a model of the catalog that is one."
        )
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _serving(command: Sequence[str], port: int, environment: Mapping[str, str]) -> Iterator[Server]:
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        try:
            if not _loaded(url, process):
                log.seek(0)
                raise SystemExit(
                    f"{' '.join(command)} did not load its model; its log ends with:\n{log.read()[-2000:]}"
                )
            yield Server(url, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _loaded(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the server has loaded the model; return False after an exit or a timeout."""
    late = time.monotonic() + LOADING_SECONDS
    while process.poll() is None and time.monotonic() < late:
        try:
            if httpx.get(f"{url}/health").status_code == httpx.codes.OK:
                return True
        except httpx.TransportError:  # The server does not listen yet.
            pass
        time.sleep(0.1)
    return False
