"""Measurement of starts in new processes, because a process imports and loads only once.

The new process runs this module: settings as JSON on stdin, measurements on stdout.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

SETTINGS = ("models", "device", "quant", "context", "slots", "chunk", "threads", "cache")
"""The settings that affect a start."""


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds to import, to load the weights, and to generate the first token.

    ``resident`` is the memory of the process afterwards, in bytes.
    """

    importing: float
    loading: float
    first_token: float
    resident: int | None


async def start_elsewhere(settings: dict[str, object]) -> Start:
    """Start in a new process. Raises UnavailableError if the process fails."""
    from pellucid.errors import UnavailableError

    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "pellucid.bench.start_time"),  # -P: never import from the working directory
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        out, err = await child.communicate(json.dumps(settings).encode())
    except BaseException:
        child.kill()
        await child.wait()
        raise
    if child.returncode:
        reason = err.decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {child.returncode}"
        raise UnavailableError(f"A measured start failed: {reason}")
    return Start(**json.loads(out))


def measure(settings: dict[str, object]) -> Start:
    """Start in this process, before any heavy import."""
    begun = time.perf_counter()
    from pellucid.config import load_settings
    from pellucid.serving.assemble import assemble
    from pellucid.serving.loading import warm_up
    from pellucid.system.memory import resident
    from pellucid.system.progress import Silent

    imported = time.perf_counter()
    loaded_settings = load_settings(**settings)
    engine, assistant = assemble(loaded_settings, loaded_settings.models, Silent(), adapters=loaded_settings.adapters)
    loaded = time.perf_counter()
    asyncio.run(warm_up(assistant))
    spoken = time.perf_counter()
    held = resident()
    engine.close()
    return Start(imported - begun, loaded - imported, spoken - loaded, held)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measure(json.load(sys.stdin)))))
