"""The models on this machine: each model has a folder with a manifest.

A model exists after the manifest is written, last. Only one process at a time works on a model;
other processes wait.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path

from filelock import FileLock, Timeout

from pellucid.errors import ModelError, NotFoundError
from pellucid.models.calibrations import EDITS
from pellucid.models.catalog import CatalogEntry, catalog
from pellucid.models.manifest import Manifest, StoredFile
from pellucid.models.other_programs import ollama_model
from pellucid.models.untrusted_files import printable, reason, shown
from pellucid.system import atomic_files
from pellucid.system.progress import Progress

logger = logging.getLogger(__name__)

_CALIBRATIONS = ("calibrations", f"calibrations/{EDITS}")
_MANIFEST = "manifest.json"
_HUB = re.compile(r"hf:|(https://)?(hf|huggingface)\.co/(?=[\w.-]+/)")
_REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(:(?P<quant>[\w.-]+))?(@(?P<revision>[\w./-]+))?")
_MAX_NAME = 200  # In bytes: part of the names of folders and locks.
_LOOKS_LOCAL = re.compile(r"(~|\.{0,2}[/\\]).*|.*\.gguf|[A-Za-z]:[/\\].*")


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model in ``pellucid models``: in the catalog, on this machine (``manifest``), or both.

    ``path`` is the file or folder to load. In bytes: ``size`` of the download (0 for an unknown
    model), ``packed`` of the packed weights, and ``prefixes`` of the saved prefixes.
    """

    name: str
    entry: CatalogEntry | None
    manifest: Manifest | None
    path: Path | None
    size: int
    packed: int
    prefixes: int

    @property
    def installed(self) -> bool:
        return self.manifest is not None

    @property
    def size_is_estimated(self) -> bool:
        return not self.installed and self.entry is not None and self.entry.size is None

    @property
    def licence(self) -> str:
        if self.entry is not None:
            return self.entry.licence
        return self.manifest.licence if self.manifest is not None else "unknown"


class Store:
    """The models under one folder, which is created at the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernels = root / "kernels"
        self.adapters = root / "adapters"
        self.finetuning = root / "finetuning"
        self._damaged: set[Path] = set()

    def list(self) -> list[ModelRecord]:
        names = [*catalog(), *sorted({manifest.name for manifest in self.manifests()} - set(catalog()))]
        return [self._record(name) for name in names]

    def show(self, name: str) -> ModelRecord:
        """Return the record of a model. Raises NotFoundError for an unknown name."""
        self._check(name)
        record = self._record(name)
        if record.entry is None and record.manifest is None:
            raise NotFoundError(f"There is no model {shown(name)}{self._known(name)}")
        return record

    def find(self, name: str) -> Path | None:
        """Return the file or folder of a model on this machine, if any. Never uses the network.

        Raises NotFoundError for a name that is neither known nor ``org/name[:quant][@revision]``.
        """
        self._check(name)
        return self._record(name).path

    def pull(self, name: str, progress: Progress, *, accepts_terms: bool = False) -> Path:
        """Return the file or folder of a model; download the model if necessary.

        Raises NotFoundError like ``find``, and ModelError if every source fails, or if the model
        has terms that are not accepted.
        """
        path = self.find(name)
        if path is not None:
            return path
        name = plain_name(name)
        from pellucid.models import download  # The HTTP client's import would delay every start with stored models.

        entry = catalog().get(name)
        if entry is not None and entry.terms is not None and not accepts_terms:
            raise ModelError(
                f"{entry.title} may be used only under the terms at {entry.terms}: read the terms, "
                f"then accept them with `pellucid models pull {name} --accept-terms`."
            )
        with self._lock(name, progress):
            path = self.find(name)  # Possibly downloaded by another process.
            if path is not None:
                return path
            folder = self._folder(name)
            with atomic_files.errors_explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
            if entry is not None:
                manifest = download.download_entry(entry, folder, progress)
            else:
                match = _repository(name)
                assert match is not None
                revision = match["revision"] or "main"
                manifest = download.download_repository(name, match["repo"], match["quant"], revision, folder, progress)
            with atomic_files.errors_explained(folder):
                atomic_files.write_text(folder / _MANIFEST, json.dumps(asdict(manifest), indent=2))
                _tidy(folder, manifest)
            return folder / manifest.model

    def verify(self, name: str, progress: Progress) -> None:
        """Verify the checksums of a model's files. Raises ModelError for any difference."""
        record = self.show(name)
        if record.manifest is None:
            raise NotFoundError(f"{name} is not on this machine: download it with `pellucid models pull {name}`.")
        for file in record.manifest.files:
            path = self._folder(name) / file.name
            if (
                not path.is_file()
                or path.stat().st_size != file.size
                or atomic_files.checksum(path, progress, file.kind) != file.checksum
            ):
                raise ModelError(
                    f"{path} is damaged: remove the model with `pellucid models remove {name}` and download it again."
                )

    def remove(self, name: str, progress: Progress) -> int:
        """Delete a model, partial downloads, and all derived files; return the freed bytes.

        For a local path, only derived files are deleted: packed weights, saved prefixes and
        calibration. Raises NotFoundError for an unknown name, or if there is nothing to delete.
        """
        path = local_path(name)
        if path is None:
            self._check(name)
        else:
            name = local_name(path)
        if not self._folder(name).is_dir() and not self._derived_files(name):
            raise NotFoundError(f"{name} is not on this machine: `pellucid models list` shows the models.")
        with self._lock(name, progress), atomic_files.errors_explained(self.root):
            folder, derived = self._folder(name), self._derived_files(name)
            files = [*derived, *(path for path in folder.rglob("*") if path.is_file())]
            freed = sum(path.stat().st_size for path in files)
            (folder / _MANIFEST).unlink(missing_ok=True)  # First, so a half-removed model does not exist.
            for path in derived:
                path.unlink()
            if folder.is_dir():
                shutil.rmtree(folder)
        return freed

    def made_with_adapter(self, name: str) -> Sequence[Path]:
        """Return all saved prefixes, even unfinished files, and calibrations for an adapter."""
        prefixes = (f"prefixes/*+*+{name}.safetensors", f"prefixes/*+*+{name}.safetensors.*.part")
        patterns = (*prefixes, *(f"{folder}/*+*+{name}.json" for folder in _CALIBRATIONS))
        return [path for pattern in patterns for path in self.root.glob(pattern)]

    def packed_path(self, name: str, key: str) -> Path:
        """Return the path of packed weights; ``key`` identifies the source and the form."""
        return self.root / "packed" / f"{_slug(name)}+{key}.safetensors"

    def prefixes_path(self, name: str, form: str) -> Path:
        return self.root / "prefixes" / f"{_slug(name)}+{form}.safetensors"

    def calibration_path(self, name: str, form: str) -> Path:
        return self.root / "calibrations" / f"{_slug(name)}+{form}.json"

    @contextmanager
    def packing(self, name: str, progress: Progress) -> Iterator[None]:
        folder = self.root / "packed"
        with self._lock(name, progress):
            with atomic_files.errors_explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
            yield

    def _record(self, name: str) -> ModelRecord:
        entry, manifest = catalog().get(name), _read_manifest(self._folder(name))
        size = sum(file.size for file in manifest.files) if manifest else entry.download_bytes if entry else 0
        path = self._folder(name) / manifest.model if manifest else None
        packed, prefixes = (
            sum(file.stat().st_size for file in self._files_of_kind(kind, name)) for kind in ("packed", "prefixes")
        )
        return ModelRecord(name, entry, manifest, path, size, packed, prefixes)

    def manifests(self) -> Iterator[Manifest]:
        """Yield the manifests of the models on this machine; a damaged manifest is logged, once."""
        for folder in sorted((self.root / "models").glob("*")):
            try:
                manifest = _read_manifest(folder)
            except ModelError as error:
                if folder not in self._damaged:
                    self._damaged.add(folder)
                    logger.warning("%s", error)
                continue
            if manifest is not None:
                yield manifest

    def _folder(self, name: str) -> Path:
        return self.root / "models" / _slug(name)

    def _files_of_kind(self, kind: str, name: str) -> Sequence[Path]:
        return sorted((self.root / kind).glob(f"{_slug(name)}+*"))

    def _derived_files(self, name: str) -> Sequence[Path]:
        return [path for kind in ("packed", "prefixes", *_CALIBRATIONS) for path in self._files_of_kind(kind, name)]

    @contextmanager
    def _lock(self, name: str, progress: Progress) -> Iterator[None]:
        locks = self.root / "locks"
        lock = FileLock(locks / f"{_slug(name)}.lock")
        with atomic_files.errors_explained(locks):
            locks.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0.1)
            except Timeout:
                progress.note(f"Waiting for another process that is using {name}.")
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _check(self, name: str) -> None:
        """Raise NotFoundError for an invalid name: the folder of "" would hold all models."""
        if (
            name in catalog()
            or (_repository(name) and len(name.encode()) <= _MAX_NAME)
            or any(manifest.name == name for manifest in self.manifests())
        ):
            return
        raise NotFoundError(f"There is no model {shown(name)}{self._known(name)}")

    def _known(self, name: str) -> str:
        known = [record.name for record in self.list()]
        close = get_close_matches(name, known, n=1)
        with suppress(OSError, ValueError):  # A name may be too long, or contain NUL.
            if "/" not in name and _is_model(Path(name)):
                return f"; to use the folder or file of this name in the working directory, write ./{name}"
        if close:
            return f": did you mean {close[0]}?"
        return ": `pellucid models list` shows the models; use org/name for any other model on the Hugging Face hub."


def _read_manifest(folder: Path) -> Manifest | None:
    try:
        data = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return Manifest(**{**data, "files": tuple(StoredFile(**file) for file in data["files"])})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{folder / _MANIFEST} cannot be read ({error}): delete {folder} and download the model again."
        ) from None


def _tidy(folder: Path, manifest: Manifest) -> None:
    kept = {_MANIFEST, *(file.name for file in manifest.files)}
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in kept:
            path.unlink()


def local_path(name: str) -> Path | None:
    """Return the file or folder for a name; None for the name of a model.

    A catalog name is never a folder, nor is a name without a slash, unless the name ends in .gguf:
    write ``./name`` for a folder in the working directory. A name such as ``run/gpt`` is a path if
    the folder exists, else a hub name; ``ollama:NAME`` is a file of ollama. Raises ModelError for a
    path that does not exist.
    """
    if name.startswith("ollama:"):
        if (file := ollama_model(name)) is None:
            raise ModelError(f"There is no model {printable(name)}: see pellucid models list.")
        return file
    looks_local = _LOOKS_LOCAL.fullmatch(name) is not None
    if name in catalog() or not (looks_local or "/" in name or name in (".", "..")):
        return None
    try:
        path = Path(name).expanduser()
        if _is_model(path):
            return path.resolve()
        is_folder, is_other = path.is_dir(), path.exists()
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # A name may be too long, contain NUL, or begin with an unknown user's ~.
        if looks_local:
            raise ModelError(f"{printable(name)} cannot be a path ({reason(error)}).") from None
        return None
    if looks_local and is_folder:
        raise ModelError(f"{name} has no config.json: name the folder of a model.")
    if looks_local:
        raise ModelError(
            f"{printable(name)} is neither a file nor a folder." if is_other else f"{printable(name)} does not exist."
        )
    return None


def could_be_remote(name: str) -> bool:
    """Return whether a folder's name could also be a hub name."""
    return _repository(name) is not None and _LOOKS_LOCAL.fullmatch(name) is None


def as_argument(path: Path) -> str:
    """Return a path for the command line, where a bare name means a model."""
    return str(path) if path.is_absolute() or len(path.parts) > 1 else f"./{path}"


def _is_model(path: Path) -> bool:
    return path.is_file() or (path / "config.json").is_file()


def local_name(path: Path) -> str:
    """Return a unique name for the files of a local model."""
    return f"{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _slug(name: str) -> str:
    """Return a name as a file name.

    The result is unique: hub names have one slash, and catalog names never have two hyphens in a
    row. All spellings of a hub name have the same file name.
    """
    return re.sub(r"[^\w.@=-]", "--", plain_name(name).replace(":", "="))


def plain_name(name: str) -> str:
    """Return a hub name without the hub's address, with the quantization in capitals."""
    match = _repository(name)
    if match is None or match["quant"] is None:
        return match[0] if match else name
    return f"{match['repo']}:{match['quant'].upper()}" + (f"@{match['revision']}" if match["revision"] else "")


def _repository(name: str) -> re.Match[str] | None:
    hub = _HUB.match(name)
    return _REPOSITORY.fullmatch(name[hub.end() :] if hub else name)
