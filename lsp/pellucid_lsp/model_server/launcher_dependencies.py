"""The dependencies of a launcher: variables, files, command and time."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_config_path, user_log_path, user_state_path

from pellucid.client.address_settings import APPLICATION, CONFIG_FILE

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 0.5
"""The first and the longest pause between health checks of a server that is not ready."""


@dataclass(frozen=True, slots=True)
class LauncherDependencies:
    """The dependencies of a launcher, replaced in tests.

    Editors use ``records`` to agree on the editor that starts a server.
    """

    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    config_file: Path = field(default_factory=lambda: user_config_path(APPLICATION) / CONFIG_FILE)
    records: Path = field(default_factory=lambda: user_state_path(APPLICATION) / "servers")
    logs: Path = field(default_factory=lambda: user_log_path(APPLICATION))
    command: tuple[str, ...] = (sys.executable, "-m", "pellucid")
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def check_times(self) -> AsyncGenerator[float]:
        """Yield the elapsed seconds at each health check, with growing pauses."""
        begun, pause = self.clock(), FIRST_PAUSE_SECONDS
        while True:
            yield self.clock() - begun
            await self.sleep(pause)
            pause = min(pause * 1.5, MAX_PAUSE_SECONDS)
