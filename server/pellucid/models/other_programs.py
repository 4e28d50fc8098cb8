"""Models that other programs have downloaded to this machine."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import platformdirs

from pellucid.errors import ModelError
from pellucid.models.untrusted_files import read_json

_OLLAMA = "ollama:"
_PART = re.compile(r"-(\d{5})-of-\d{5}\.gguf")
_DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")
_MOST_FILES = 2000  # A folder with more files is probably not a folder of models.
_MODEL_LAYER = "application/vnd.ollama.image.model"


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model of a ``program``; ``argument`` names the model for ``--model``."""

    program: str
    argument: str
    size: int


def found_models() -> list[FoundModel]:
    """Return the GGUF files and folders of ollama, LM Studio, llama.cpp and huggingface_hub."""
    found = [("ollama", _OLLAMA + name, path) for name, path in _ollama_models()]
    for program, folder in _folders():
        found += [(program, str(path), path) for path in sorted(islice(_models_in(folder), _MOST_FILES))]
    models = []
    for program, argument, path in found:
        with suppress(OSError):  # A link to nowhere.
            if argument.isprintable():  # Else the name could not be given to --model.
                models.append(FoundModel(program, argument, _size(path)))
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
        for manifest in sorted(_matches(root / "manifests", "*/*/*/*")):
            host, namespace, name, tag = manifest.parts[-4:]
            owner = "" if namespace == "library" else f"{namespace}/"
            place = "" if host == "registry.ollama.ai" else f"{host}/"
            if (digest := _digest(manifest)) and (file := root / "blobs" / digest.replace(":", "-")).is_file():
                yield f"{place}{owner}{name}:{tag}", file


def _digest(manifest: Path) -> str | None:
    """Return the digest of a manifest's model; None for a file of another form."""
    with suppress(ModelError, OSError, TypeError, KeyError):
        for layer in read_json(manifest)["layers"]:
            if layer["mediaType"] == _MODEL_LAYER and _DIGEST.fullmatch(layer["digest"]):
                return str(layer["digest"])
    return None


def _folders() -> Iterator[tuple[str, Path]]:
    """Yield programs and the folders of their models, as stated by the programs' variables."""
    yield "LM Studio", Path.home() / ".lmstudio/models"
    yield "LM Studio", Path.home() / ".cache/lm-studio/models"
    llama = platformdirs.user_cache_path("llama.cpp", appauthor=False, opinion=False)
    yield "llama.cpp", Path(os.environ.get("LLAMA_CACHE") or llama)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = os.environ.get("HF_HOME") or Path(cache) / "huggingface"
    yield "huggingface_hub", Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _models_in(folder: Path) -> Iterator[Path]:
    """Yield GGUF files, the first of a split model, and folders with safetensors."""
    for path in _matches(folder, "**/*.gguf"):
        part = _PART.search(path.name)
        if "mmproj" not in path.name.lower() and (part is None or part[1] == "00001"):
            yield path
    for path in _matches(folder, "**/config.json"):
        if any(_matches(path.parent, "*.safetensors")):
            yield path.parent


def _matches(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield paths; a folder that is missing or cannot be read ends the search."""
    with suppress(OSError):
        yield from folder.glob(pattern)


def _size(path: Path) -> int:
    """Return the bytes of a model: of all parts of a file, or of all weights of a folder."""
    part = _PART.search(path.name)
    files = [path]
    if path.is_dir():
        files = list(path.glob("*.safetensors"))
    elif part:
        files = list(path.parent.glob(f"{glob.escape(path.name[: part.start()])}-?????-of-?????.gguf"))
    return sum(file.stat().st_size for file in files)
