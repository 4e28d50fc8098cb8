"""Models that other programs have downloaded to this machine."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

_OLLAMA = "ollama:"
_PART = re.compile(r"-(\d{5})-of-\d{5}\.gguf")
_MOST_FILES = 2000  # Of a program: more files are no folder of models.
_MODEL_LAYER = "application/vnd.ollama.image.model"


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model of a ``program``; ``argument`` names the model for ``--model``."""

    program: str
    argument: str
    size: int


def found_models() -> list[FoundModel]:
    """Return the GGUF files and folders of ollama, LM Studio, llama.cpp and huggingface_hub."""
    models = [FoundModel("ollama", _OLLAMA + name, path.stat().st_size) for name, path in _ollama_models()]
    for program, folder in _folders():
        files = sorted(path for _, path in zip(range(_MOST_FILES), _models_in(folder), strict=False))
        models += [FoundModel(program, str(path), _size(path)) for path in files]
    return models


def ollama_model(name: str) -> Path | None:
    """Return the GGUF file of ``ollama:NAME`` or ``ollama:NAME:TAG``; None for any other name."""
    if not name.startswith(_OLLAMA):
        return None
    wanted = name.removeprefix(_OLLAMA)
    return dict(_ollama_models()).get(wanted if ":" in wanted else f"{wanted}:latest")


def _ollama_models() -> Iterator[tuple[str, Path]]:
    """Yield names and files by ollama's manifests: HOST/NAMESPACE/NAME/TAG."""
    stated = os.environ.get("OLLAMA_MODELS")
    roots = [Path(stated)] if stated else [Path.home() / ".ollama/models", Path("/usr/share/ollama/.ollama/models")]
    for root in roots:
        with suppress(OSError):
            for manifest in sorted((root / "manifests").glob("*/*/*/*")):
                host, namespace, name, tag = manifest.parts[-4:]
                owner = "" if namespace == "library" else f"{namespace}/"
                place = "" if host == "registry.ollama.ai" else f"{host}/"
                file = root / "blobs" / _digest(manifest).replace(":", "-")
                if file.is_file():
                    yield f"{place}{owner}{name}:{tag}", file


def _digest(manifest: Path) -> str:
    """Return the digest of a manifest's model; "none" for a file of another form."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        layers: list[dict[str, Any]] = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
        return next((str(layer["digest"]) for layer in layers if layer["mediaType"] == _MODEL_LAYER), "none")
    return "none"


def _folders() -> Iterator[tuple[str, Path]]:
    """Yield programs and the folders of their models, as stated by the programs' variables."""
    yield "LM Studio", Path.home() / ".lmstudio/models"
    yield "LM Studio", Path.home() / ".cache/lm-studio/models"
    yield "llama.cpp", Path(os.environ.get("LLAMA_CACHE") or platformdirs.user_cache_path("llama.cpp"))
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
    yield "huggingface_hub", Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def _models_in(folder: Path) -> Iterator[Path]:
    """Yield GGUF files, the first of a split model, and folders with safetensors."""
    with suppress(OSError):
        for path in folder.rglob("*.gguf"):
            part = _PART.search(path.name)
            if path.is_file() and "mmproj" not in path.name.lower() and (part is None or part[1] == "00001"):
                yield path
        for path in folder.rglob("config.json"):
            if any(path.parent.glob("*.safetensors")):
                yield path.parent


def _size(path: Path) -> int:
    """Return the bytes of a model: of all parts of a file, or of all weights of a folder."""
    part = _PART.search(path.name)
    if path.is_dir():
        files = list(path.glob("*.safetensors"))
    elif part:
        files = list(path.parent.glob(f"{glob.escape(path.name[: part.start()])}-*.gguf"))
    else:
        files = [path]
    return sum(file.stat().st_size for file in files if file.is_file())
