"""Describes the machine and versions of a measurement, for the line above a table."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path

import torch

from pellucid.config import load_settings
from pellucid.engine.native import calls
from pellucid.models.store import Store


def about(*versions: str) -> str:
    """Return date, machine, versions and the command; ``versions`` has the versions of peers."""
    calls.keep_in(Store(load_settings().cache).kernels)
    parts = [
        f"{date.today():%Y-%m-%d}",
        f"{processor()}, {os.cpu_count()} processors",
        f"Pellucid {importlib.metadata.version('pellucid')}, {calls.variant() or 'no native'} kernels",
        f"Python {platform.python_version()}",
        f"torch {torch.__version__}",
        *versions,
    ]
    return f"{'; '.join(parts)}\n\n    {shlex.join(['python', *sys.argv])}\n"


def processor() -> str:
    """Return the name of the processor, or of the architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return named[1] if named else platform.processor() or platform.machine()


def llama_version(folder: Path) -> str:
    """Return the version reported by llama.cpp's programs in ``folder``."""
    printed = subprocess.run([folder / "llama-server", "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"^version: (.+)$", printed.stdout + printed.stderr, re.MULTILINE)
    if found is None:
        raise SystemExit(
            f"llama-server in {folder} does not report its version; it printed {printed.stdout + printed.stderr!r}."
        )
    return f"llama.cpp {found[1]}"


def llama_instructions(folder: Path) -> str:
    """Return the line with llama.cpp's instructions, printed before a model is opened."""
    command = [str(folder / "llama-server"), "--model", os.devnull, "--port", "0", "--log-verbosity", "4"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"system_info: .+", printed.stdout + printed.stderr)
    return found[0] if found else "no system_info"
