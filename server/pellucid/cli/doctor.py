"""The ``doctor`` command: a report about this machine.

Nothing is downloaded; missing native kernels are compiled.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.config import Settings, config_file, load_settings, origins
from pellucid.engine.native.kernel_compiler import COMPILERS
from pellucid.errors import ConfigError, PellucidError
from pellucid.system.atomic_files import human
from pellucid.system.installed_version import installed_version
from pellucid.system.machine import CPU_FEATURES, cpu_info, processor_features
from pellucid.system.processors import threads_to_use, usable_processors
from pellucid.system.torch_extra import has_torch

Findings = dict[str, str | list[str]]


def report(*, as_json: bool) -> None:
    """Print all findings. Raise ConfigError for unreadable settings."""
    settings = load_settings()
    findings = examine(settings)
    if as_json:
        sys.stdout.write(json.dumps(findings, indent=2) + "\n")
        return
    from pellucid.terminal.plain_tables import plain_console, plain_table

    table = plain_table(("", ""), whole_names=True)
    table.columns[0].style, table.columns[1].overflow = "bold", "fold"
    for subject, found in findings.items():
        table.add_row(subject, found if isinstance(found, str) else "\n".join(found))
    plain_console().print(table)


def examine(settings: Settings) -> Findings:
    subjects: dict[str, Callable[[], str | list[str]]] = {
        "pellucid": installed_version,
        "python": lambda: f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform,
        "torch": _torch,
        "device": lambda: _device(settings.device),
        "processor": _processor,
        "native kernel": lambda: _kernel(settings.cache),
        "compiler": _compiler,
        "threads": lambda: (
            f"{threads_to_use(settings.threads)} compute threads; "
            f"this process may use {len(usable_processors())} processors"
        ),
        "memory": _memory,
        "cache": lambda: _cache(settings.cache),
        "models": lambda: _models(settings),
        "config file": lambda: (
            f"{config_file()} ({'read' if config_file().exists() else 'does not exist; defaults apply'})"
        ),
        "settings": lambda: [
            f"{name} = {_shown(getattr(settings, name))}  ({origin})" for name, origin in origins().items()
        ],
        "key": lambda: _key(settings),
        "port": lambda: _port(settings),
        "engines": lambda: _engines(settings),
        "network": lambda: "not used: doctor only looks at this machine",
    }
    return {subject: find() for subject, find in subjects.items()}


def _torch() -> str:
    if not has_torch():
        return 'not installed; the native kernels need none. GPUs and learning do: pip install "pellucid[torch]"'
    import torch

    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"{torch.__version__} ({cuda}), transformers {installed_version('transformers')}"


def _device(wanted: str) -> str:
    if not has_torch():
        return f"cpu (setting: {wanted})"
    import torch

    if not torch.cuda.is_available():
        return f"cpu; no CUDA device found (setting: {wanted})"
    found = [
        f"cuda:{i} {torch.cuda.get_device_name(i)}, {human(torch.cuda.mem_get_info(i)[1])}"
        for i in range(torch.cuda.device_count())
    ]
    return f"{', '.join(found)} (setting: {wanted})"


def _processor() -> str:
    name, features = cpu_info(Path("/proc/cpuinfo"))[0], processor_features()
    found = [feature for feature in CPU_FEATURES if feature in features]
    return f"{name or platform.machine()}; {', '.join(found) or 'features unknown'}"


def _kernel(cache: Path) -> str:
    from pellucid.engine.native import calls
    from pellucid.engine.native.kernel_variants import VARIANT_VARIABLE, runnable_variants
    from pellucid.models.store import Store

    calls.keep_in(Store(cache).kernels)
    try:
        if not calls.available():
            return f"not used, so models run several times slower: {calls.reason()}"
    except ConfigError as error:
        return str(error)
    names = ", ".join(variant.name for variant in runnable_variants())
    found = f"used, {calls.variant()}, {calls.origin()}; this processor runs {names} ({VARIANT_VARIABLE} chooses)"
    return found + (f"; {calls.warning()}" if calls.warning() else "")


def _compiler() -> str:
    wanted = os.environ.get("CC", "").split()[:1] or COMPILERS
    found = next(filter(None, map(shutil.which, wanted)), None)
    return (
        found or f"none found ({', '.join(wanted)}): only kernels from a wheel need none; Debian: apt-get install gcc"
    )


def _memory() -> str:
    path = Path("/proc/meminfo")
    if path.exists():
        fields = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in path.read_text().splitlines()}
        return f"{human(fields['MemAvailable'])} of {human(fields['MemTotal'])} free"
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return f"{human(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))}"
    return "unknown on this system"


def _cache(folder: Path) -> str:
    there = folder
    while not there.exists():
        there = there.parent
    used = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return f"{folder}: {human(used)} used, {human(shutil.disk_usage(there).free)} free on its disk"


def _models(settings: Settings) -> list[str]:
    from pellucid.models.store import Store

    return [
        f"{record.name}: {human(record.size)}, {human(record.packed)} packed, "
        f"{human(record.prefixes)} of saved prefixes, {record.licence}"
        for record in Store(settings.cache).list()
        if record.installed
    ] or ["none yet"]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)


def _key(settings: Settings) -> list[str]:
    """Return the key's source or the consequence of no key, and the processes with visible keys."""
    if settings.key is None:
        found = ["none: every user of this machine can use the API and the page, and read its conversations"]
        found.append(
            "to set one, write it to a file with mode 600, and name the file in api_key_file or PELLUCID_API_KEY_FILE"
        )
    else:
        found = [f"set, from {origins()['api_key']}"]
    return found + [
        f"process {number} shows its key to every user of this machine on its command line: start it with "
        "--api-key-file"
        for number in processes_showing_a_key()
    ]


def processes_showing_a_key() -> list[int]:
    """Return the Pellucid processes with ``--api-key`` that this user can see."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # The process has ended meanwhile.
            words = path.read_bytes().split(b"\0")
            ours = any(re.fullmatch(rb"(.*/)?pellucid", word) for word in words[:4])
            if ours and any(word == b"--api-key" or word.startswith(b"--api-key=") for word in words):
                found.append(int(path.parent.name))
    return sorted(found)


def _port(settings: Settings) -> str:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.settimeout(1.0)
        try:
            taken = probe.connect_ex((settings.host, settings.port)) == 0
        except OSError as error:
            return f"the address {settings.host} cannot be reached: {error}"
    return f"{settings.port} is in use{asyncio.run(_who(settings))}" if taken else f"{settings.port} is free"


def _engines(settings: Settings) -> str | list[str]:
    if not settings.has_engines_elsewhere:
        return "none: models are computed by the server itself"
    found = asyncio.run(_engines_of(settings))
    if found is None:
        return "unknown: no server is ready"
    return [
        f"{one['id']}: {one['state']}, vLLM {one['version'] or '?'}. {one.get('problem') or ''}".rstrip()
        for one in found
    ]


async def _engines_of(settings: Settings) -> list[dict[str, Any]] | None:
    from pellucid.client.http_client import Client

    async with Client(settings.url, settings.key) as client:
        with suppress(PellucidError):
            return await client.administration.engines()
    return None


async def _who(settings: Settings) -> str:
    """Return a description of the server at the port, as a continuation of "is in use"."""
    from pellucid.client.http_client import Client

    async with Client(settings.url, settings.key) as client:
        try:
            health = await client.server_health(verified=False)
            if not health.answers:
                return ", not by a server that speaks HTTP"
            if health.message:
                return f" by a server that is not ready: {health.message}"
            return f" by Pellucid, which serves {', '.join(card['id'] for card in await client.models())}"
        except PellucidError as error:
            return f": {error}"
