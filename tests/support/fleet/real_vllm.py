"""Runs real vLLM servers on the processor, in a separate environment (``make test-fleet``)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from pellucid.config import load_settings
from pellucid.models.export_model import export
from pellucid.models.load import open_checkpoint
from pellucid.models.store import Store
from pellucid.system.progress import Silent

PYTHON = os.environ.get("PELLUCID_VLLM_PYTHON", "")
"""The interpreter of vLLM's environment."""

PLUGIN = Path(__file__).parents[3] / "deploy/vllm_entropy"

STARTING = 420.0
"""Maximum seconds for a start."""

OPTIONS = (
    *("--dtype", "float32", "--max-model-len", "4096", "--max-num-seqs", "16", "--enforce-eager", "--enable-scale-out"),
    *(
        "--max-logprobs",
        "200",
        "--scheduling-policy",
        "priority",
        "--enable-prompt-tokens-details",
        "--block-size",
        "32",
    ),
)
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # Otherwise two servers would share a core.
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}


def float_folder(model: str, folder: Path) -> Path:
    """Write a catalog model in float32 into a new folder in Hugging Face's layout."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        export(
            open_checkpoint(model, store=Store(load_settings().cache), progress=Silent()), folder, "float32", Silent()
        )
    return folder


@dataclass
class VLLM:
    """A vLLM server during or after the start."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def wait(self) -> None:
        """Wait until the server answers."""
        late = time.monotonic() + STARTING
        while not self._is_healthy():
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < late, self.log.read_text()[-4000:]
            time.sleep(0.5)

    def metric(self, name: str) -> float:
        """Return a metric, such as the number of running requests."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"vllm:{name}{{"))

    def kill(self) -> None:
        """Kill the server and the engine, as a lost machine would."""
        with suppress(ProcessLookupError):  # The server was killed before.
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


def install_plugin(folder: Path) -> Path:
    """Install the plugin for the entropy into an empty folder, and return the new folder."""
    source = shutil.copytree(PLUGIN, folder / "source")  # setuptools writes next to the source.
    target = folder / "installed"
    command = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(target),
        str(source),
    ]
    subprocess.run(command, check=True)
    return target


def start_vllm(
    folder: Path,
    name: str,
    work: Path,
    *options: str,
    model_options: Sequence[str] = OPTIONS,
    plugins: Path | None = None,
) -> VLLM:
    """Start a server of a model's folder; ``work`` is an empty folder, ``plugins`` has packages."""
    assert PYTHON, "set PELLUCID_VLLM_PYTHON, or run `make test-fleet`"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", name]
    command += [*model_options, "--host", "127.0.0.1", "--port", str(port), *options]
    work.mkdir(parents=True, exist_ok=True)
    log = work / "log"
    environment = os.environ | ENVIRONMENT | ({} if plugins is None else {"PYTHONPATH": str(plugins)})
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=work, env=environment, start_new_session=True)
    return VLLM(f"http://127.0.0.1:{port}", log, process)
