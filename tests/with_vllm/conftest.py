"""Provides real vLLM servers, started only when needed.

A start takes a minute and gigabytes of memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fleet.real_vllm import VLLM, float_folder, install_plugin, start_vllm
from support.page.page_fixtures import SMALL
from support.servers.real_model_server import CODER


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folders of both real models in float32."""
    root = tmp_path_factory.mktemp("float32")
    return {name: float_folder(name, root / name) for name in (SMALL, CODER)}


class Engines(dict[str, VLLM]):
    """The servers by the names of the models; the small model's server reports the entropy."""

    def __init__(self, folders: dict[str, Path], work: Path) -> None:
        super().__init__()
        self._folders = folders
        self._work = work

    def __missing__(self, name: str) -> VLLM:
        """Start a server, and wait for the first answer."""
        plugins = install_plugin(self._work / "plugins") if name == SMALL else None
        self[name] = start_vllm(self._folders[name], name, self._work / name, plugins=plugins)
        self[name].wait()
        return self[name]


@pytest.fixture(scope="session")
def engines(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    servers = Engines(folders, tmp_path_factory.mktemp("vllm"))
    yield servers
    for server in servers.values():
        server.kill()
