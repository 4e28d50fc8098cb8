"""Speeds of models on this machine, saved in the cache folder for ``pellucid models list``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pellucid.config import Settings
from pellucid.engine.native.kernel_variants import forced_variant, runnable_variants
from pellucid.system import atomic_files, machine
from pellucid.system.installed_version import installed_version
from pellucid.system.processors import threads_to_use
from pellucid.system.torch_extra import has_gpu_driver


@dataclass(frozen=True, slots=True)
class Speed:
    """The seconds of a keystroke and of the first keystroke in a file (None: not measured).

    ``weights`` are the bytes of the weights in memory. The seconds are ``estimated`` by ``pellucid
    models recommend``, or else measured by ``pellucid bench``.
    """

    keystroke: float
    first: float | None
    weights: int
    estimated: bool


def read_speeds(settings: Settings) -> dict[str, Speed]:
    """Return the speeds by model name; {} without a file, or if Pellucid did not write the file."""
    try:
        return {name: Speed(**fields) for name, fields in json.loads(_file(settings).read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # The next estimate replaces the file.
        return {}


def add_speeds(settings: Settings, speeds: Mapping[str, Speed]) -> None:
    """Save speeds; an estimate does not replace a measured speed."""
    file, saved = _file(settings), read_speeds(settings)
    saved |= {name: speed for name, speed in speeds.items() if not speed.estimated or saved.get(name, speed).estimated}
    with atomic_files.errors_explained(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_text(file, json.dumps({name: asdict(speed) for name, speed in saved.items()}, indent=1))


def _file(settings: Settings) -> Path:
    """Return the file for this version, this processor and these settings.

    So figures that do not hold any more are not found.
    """
    facts = {
        "pellucid": installed_version(),
        "processor": machine.machine("cpu")["processor"],
        "threads": threads_to_use(settings.threads),
        "kernels": forced_variant() or runnable_variants()[-1].name,
        "gpu": has_gpu_driver(),
        "device": settings.device,
        "quant": settings.quant,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return settings.cache / "speeds" / f"{digest[:16]}.json"
