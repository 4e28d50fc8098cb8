"""The launcher with a real ``pellucid serve`` and the real model."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pellucid.client.http_client import Client
from pellucid.errors import UnavailableError
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from pellucid_lsp.editor_settings import ServerSettings
from pellucid_lsp.model_server.launch import Launcher, LauncherState, LauncherStatus
from pellucid_lsp.model_server.launch_environment import LaunchEnvironment
from pellucid_lsp.model_server.server_process import ServerRecord
from support.servers.real_model_server import real_models

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[2]
SUFFIX = "\n\nprint(add(1, 2))\n"


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[Launcher]:
    """A launcher on a machine without servers; the started server ends with the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    path = os.pathsep.join([str(ROOT / "server"), str(ROOT / "lsp")])
    variables = os.environ | real_models() | {"PYTHONPATH": path, "PELLUCID_PORT": str(port)}
    around = LaunchEnvironment(variables, tmp_path / "config.toml", tmp_path / "records", tmp_path / "logs")
    statuses: list[LauncherStatus] = []
    launcher = Launcher(ServerSettings(api_key="hunter2"), "", statuses.append, around)
    yield launcher
    assert all(status.url == f"http://127.0.0.1:{port}" for status in statuses)
    await launcher.aclose()
    record = ServerRecord.load(tmp_path / "records" / f"{port}.json")
    assert record is not None
    record.kill()


async def answer(client: Client) -> str:
    """Return the model's answer to an infill."""
    items = client.complete(
        CompletionQuery("def add(a, b):\n    return ", SUFFIX, params=SamplingParams(max_tokens=8), stop=["\n"])
    )
    return "".join([item.text async for item in items if not isinstance(item, Finish)])


async def test_the_server_is_started_and_comes_back(launcher: Launcher, tmp_path: Path) -> None:
    """The first request starts the server; a killed or restarted server is replaced."""
    client = await launcher.client()
    assert (await answer(client)).strip() == "a + b"
    assert launcher.status.state is LauncherState.READY
    assert "<|fim_middle|>" in await client.infill_prompt(CompletionQuery("def add(a, b):\n    return ", SUFFIX))

    (path,) = (tmp_path / "records").glob("*.json")
    first = ServerRecord.load(path)
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    with pytest.raises(UnavailableError):
        await answer(client)
    launcher.lost(client)
    assert (await answer(await launcher.client())).strip() == "a + b"

    second = ServerRecord.load(path)
    await launcher.restart()
    assert (await answer(await launcher.client())).strip() == "a + b"
    third = ServerRecord.load(path)
    assert second is not None
    assert third is not None
    assert len({first.pid, second.pid, third.pid}) == 3
    assert not second.runs()
