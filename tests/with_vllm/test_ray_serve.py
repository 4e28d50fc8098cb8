"""Killed processes of a real Ray Serve with two engines lose and change no answer."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from pellucid.config import load_settings
from pellucid.fleet.fleet import Fleet
from pellucid.serving.assemble_front import assemble_front, join_engines
from pellucid.system.progress import Silent
from pellucid.vocabulary.finish import FinishReason
from support.fleet.numbered_answers import answer
from support.fleet.real_vllm import ENVIRONMENT, PYTHON
from support.page.page_fixtures import SMALL

NAME = "tiny"
STREAMS = 10
TOKENS = 400
LONGEST_GAP = 10.0
"""Seconds without a token, while the second engine takes over an answer."""

STARTING = 420.0
RESTARTING = 240.0
"""Seconds until Ray has replaced a lost replica."""

ENGINES = 2
READY = r"\nreplicas that are ready: (\d+)"
MARK = "PELLUCID_RAY_TEST"
"""An environment variable to find the processes of the test."""

RAY_ENVIRONMENT = {
    "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    # Without this value, Ray kills workers when the machine is short of memory.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_TARGET_DEVICE": "cpu",
}

pytestmark = pytest.mark.timeout(1200)


@dataclass
class RayServe:
    """A Ray Serve application of two engines."""

    url: str
    mark: str
    folder: Path
    log: Path

    def processes(self, title: str) -> list[int]:
        """Return the application's processes with this beginning of the title."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                is_own = entry.name.isdigit() and f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes()
                if is_own and (entry / "cmdline").read_bytes().startswith(title.encode()):
                    found.append(int(entry.name))
        return found

    def ready(self) -> list[int]:
        """Return the logged numbers of ready engines; a process is no proof of a ready engine."""
        return [0, *map(int, re.findall(READY, self.log.read_text(errors="replace")))]


@pytest.fixture(scope="module")
def ray_serve(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayServe]:
    """Run two engines of a tiny random model with the tokenizer of a real model."""
    folder, work = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("ray")
    config = LlamaConfig(
        vocab_size=49152, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in folders[SMALL].glob("tokenizer*"):
        shutil.copy(file, folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    script, mark, log = Path(__file__).parents[1] / "support/fleet/ray_on_cpu.py", uuid4().hex, work / "log"
    path = os.pathsep.join([str(Path(PYTHON).parent), os.environ["PATH"]])
    environment = os.environ | ENVIRONMENT | RAY_ENVIRONMENT | {MARK: mark, "PATH": path}
    found = RayServe(f"http://127.0.0.1:{port}", mark, folder, log)
    with log.open("wb") as out:
        command = [PYTHON, str(script), str(folder), NAME, str(port), str(ENGINES)]
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=work, env=environment, start_new_session=True)
    try:
        late = time.monotonic() + STARTING
        while found.ready()[-1] < ENGINES:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < late, log.read_text()[-4000:]
            time.sleep(0.5)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        for left in found.processes(""):
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)


@asynccontextmanager
async def fleet_over(ray_serve: RayServe) -> AsyncIterator[Fleet]:
    """Yield a fleet with the application as the only engine."""
    settings = load_settings(models=(f"{NAME}={ray_serve.folder}",), engines=(ray_serve.url,))
    parts = await asyncio.to_thread(assemble_front, settings, Silent())
    await join_engines(parts)
    assert isinstance(parts.engine, Fleet)
    assert parts.membership is not None
    watching = asyncio.create_task(parts.membership.watch())
    yield parts.engine
    watching.cancel()
    await parts.engine.replicas.disconnect()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(RESTARTING):
        while not holds():
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("title", ["ray::ServeReplica:default:LLMServer", "VLLM::EngineCore"])
async def test_a_process_is_killed(ray_serve: RayServe, title: str) -> None:
    """Streams of a killed replica or engine end like undisturbed streams, and Ray replaces both."""
    await until(lambda: ray_serve.ready()[-1] == ENGINES)
    async with fleet_over(ray_serve) as fleet:
        undisturbed = [
            ids
            for ids, _, _ in await asyncio.gather(*(answer(fleet, NAME, number, TOKENS) for number in range(STREAMS)))
        ]
        started = [asyncio.Event() for _ in range(STREAMS)]
        streams = [
            asyncio.create_task(answer(fleet, NAME, number, TOKENS, event)) for number, event in enumerate(started)
        ]
        async with asyncio.timeout(RESTARTING):  # A failed stream never begins.
            await asyncio.gather(*(event.wait() for event in started))
        changes, killed = len(ray_serve.ready()), time.monotonic()
        os.kill(ray_serve.processes(title)[0], signal.SIGKILL)
        found = await asyncio.gather(*streams)
        after = [
            ids
            for ids, _, _ in await asyncio.gather(*(answer(fleet, NAME, number, TOKENS) for number in range(STREAMS)))
        ]
        await until(lambda: ray_serve.ready()[changes:][1:][-1:] == [ENGINES])
        back = time.monotonic() - killed
    assert [ids for ids, _, _ in found] == undisturbed == after
    assert {end.reason for _, end, _ in found} == {FinishReason.LENGTH}
    longest, moves = max(gap for _, _, gap in found), sum(end.usage.moves for _, end, _ in found)
    print(f"{title}: {moves} moves of {STREAMS} streams, longest gap {longest:.1f} s, replaced after {back:.0f} s")
    assert moves > 0
    assert longest < LONGEST_GAP
