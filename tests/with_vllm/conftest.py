"""Provides real vLLM servers, started once and together, since each takes a minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fleet.real_vllm import VLLM, float_folder, install_plugin, start_vllm
from support.page.page_fixtures import SMALL
from support.servers.real_model_server import CODER


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of both real models in float32."""
    root = tmp_path_factory.mktemp("float32")
    return {name: float_folder(name, root / name) for name in (SMALL, CODER)}


@pytest.fixture(scope="session")
def engines(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, VLLM]]:
    """A server of each model; that of the small one reports the entropy."""
    work = tmp_path_factory.mktemp("vllm")
    plugins = {SMALL: install_plugin(tmp_path_factory.mktemp("plugins"))}
    servers = {name: start_vllm(folder, name, work / name, plugins=plugins.get(name)) for name, folder in folders.items()}
    try:
        for server in servers.values():
            server.wait()
        yield servers
    finally:
        for server in servers.values():
            server.kill()
