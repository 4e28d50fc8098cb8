"""Prompt prefixes saved to disk at exit, so the next start need not compute them again.

The file contains users' text as token ids, with keys and values; only the owner may read the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from pellucid.engine.check_packed_weights import Spec
from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.kv_cache.kv_snapshot import Content, Ids, KVSnapshot, checksum
from pellucid.engine.model import CacheShape
from pellucid.engine.native import calls
from pellucid.errors import ModelError
from pellucid.models.tensor_file import UNREADABLE, TensorFile
from pellucid.system import atomic_files
from pellucid.system.large_pages import large_pages

VERSION = 4  # Version of the file and of the computation of keys and values.

logger = logging.getLogger(__name__)


class PrefixFile:
    """The saved prefixes of one model in one form.

    Implements :class:`pellucid.engine.kv_cache.parked_prefixes.SavedPrefixes`. ``key`` identifies
    weights and software; a file with another key is not used. ``source`` is a file of the model:
    nothing is saved after the model was removed.
    """

    def __init__(self, path: Path, key: str, shape: CacheShape, source: Path) -> None:
        self.path = path
        self._key = key
        self._shape = shape
        self._source = source

    def of_variant(self, name: str, made_of: str, source: Path) -> PrefixFile:
        """Return the file for an adapted model. ``made_of`` identifies the adapter's state."""
        path = self.path.with_name(f"{self.path.stem}+{name}{self.path.suffix}")
        key = hashlib.sha256(repr((self._key, made_of)).encode()).hexdigest()
        return PrefixFile(path, key, self._shape, source)

    def of_shape(self, shape: CacheShape) -> PrefixFile:
        """Return the file for the same model with another cache."""
        key = hashlib.sha256(repr((self._key, shape.dtype)).encode()).hexdigest()
        return PrefixFile(self.path, key, shape, self._source)

    def read(self) -> list[KVSnapshot]:
        """Read the saved prefixes, most recently used first; contents are read at first use.

        A damaged file, or a file of another model, kernel or version, is deleted.
        """
        for part in self.path.parent.glob(f"{self.path.name}.*.part"):
            with suppress(OSError):  # A read-only disk.
                part.unlink()  # From a killed process.
        try:
            return self._open()
        except FileNotFoundError:
            return []
        except UNREADABLE as error:
            logger.warning("The saved prefixes in %s cannot be used (%s) and are deleted.", self.path, error)
            self.delete()
            return []

    def write(self, prefixes: Sequence[KVSnapshot]) -> None:
        """Replace the file by prefixes, most recently used first. Disk errors are only logged."""
        exists = self._source.exists()  # Prefixes of a removed model must not reappear.
        given, prefixes = len(prefixes), [prefix for prefix in prefixes if exists and prefix.ensure_loaded()]
        if exists and len(prefixes) < given:
            logger.warning(
                "%d of %d prefixes are damaged on the disk and are not saved again.", given - len(prefixes), given
            )
        if not prefixes:
            self.delete()
            return
        ids = np.concatenate([prefix.ids for prefix in prefixes])
        checksums = [prefix.checksum for prefix in prefixes]
        salts = [prefix.cache_salt for prefix in prefixes]
        contents = {str(number): np.ascontiguousarray(prefix.loaded()) for number, prefix in enumerate(prefixes)}
        arrays = {"ids": ids, **contents}
        specs = {name: (array.dtype, array.shape) for name, array in arrays.items()}
        metadata = {
            "key": self._key,
            "salts": json.dumps(salts),
            "checksums": json.dumps(checksums),
            "checksum": _checksum(ids, specs, salts, checksums),
        }
        try:
            with (
                atomic_files.errors_explained(self.path.parent),
                self._part(sum(array.nbytes for array in arrays.values())) as part,
            ):
                save_file(arrays, part, metadata)
                # Without sync, which would delay the exit. Checksums detect the damage of a power
                # cut.
                part.replace(self.path)
        except ModelError as error:
            logger.warning("The prefix cache was not saved: %s", error)

    def delete(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s cannot be deleted: %s", self.path, error.strerror or error)

    def _open(self) -> list[KVSnapshot]:
        file = TensorFile(self.path)
        if file.metadata.get("key") != self._key:
            raise ValueError("they were made by another model, kernel or version")
        ids = file.read("ids", np.empty(file.size("ids"), np.uint8))
        salts, checksums = json.loads(file.metadata["salts"]), json.loads(file.metadata["checksums"])
        if _checksum(ids, file.specs, salts, checksums) != file.metadata.get("checksum"):
            raise ValueError("their token ids, salts or checksums are damaged")
        names = [str(number) for number in range(len(checksums))]
        lengths = [self._tokens(*file.specs[name]) for name in names]
        if sum(lengths) != len(ids):
            raise ValueError(f"{len(ids)} token ids do not make prefixes of {lengths} tokens")
        parts = np.split(ids, np.cumsum(lengths)[:-1])
        return [_lazy_snapshot(file, *saved) for saved in zip(names, parts, salts, checksums, strict=True)]

    def _tokens(self, dtype: np.dtype[Any], size: tuple[int, ...]) -> int:
        """Raise ValueError if the shape does not fit the cache; return the number of tokens."""
        shape = self._shape
        layers, heads, tokens, width = size
        stored = np.dtype("uint16" if shape.dtype == "bfloat16" else shape.dtype)
        if (layers, heads, width, dtype) != (2 * shape.layers, shape.kv_heads, shape.row_width, stored):
            raise ValueError(f"a content has the shape {size}")
        return tokens

    @contextmanager
    def _part(self, size: int) -> Iterator[Path]:
        """Create a private temporary file for ``size`` bytes, deleted at the end unless renamed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.require_space(self.path.parent, size)
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # Private before the first write.
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)


def prefix_key(source: str, config: DecoderConfig | None, form: str, shape: CacheShape) -> str:
    """Return a hash of all inputs for keys and values.

    The inputs are weights, configuration (None: a part of ``source``), form, shape and software.
    """
    made_by = (calls.build(),) if form.endswith("-native") else _torch_versions(shape.device)
    layout = (shape.layers, shape.kv_heads, shape.head_dim, shape.dtype)
    return hashlib.sha256(repr((VERSION, source, config, form, layout, made_by)).encode()).hexdigest()


def _torch_versions(device: str) -> tuple[str, ...]:
    import torch

    processor = (
        torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else f"{device} {torch.backends.cpu.get_cpu_capability()}"
    )
    return torch.__version__, version("transformers"), processor


def _lazy_snapshot(file: TensorFile, name: str, ids: Ids, cache_salt: str, expected: int) -> KVSnapshot:
    return KVSnapshot(ids, None, partial(_read_content, file, name, expected), cache_salt, file.size(name))


def _read_content(file: TensorFile, name: str, expected: int) -> Content | None:
    """Return None for damaged or unreadable content, or without memory for the content."""
    try:
        content = file.read(name, large_pages(file.size(name)))
    except (OSError, MemoryError):
        return None
    return content if checksum(content) == expected else None


def _checksum(ids: Ids, specs: Mapping[str, Spec], salts: Sequence[str], checksums: Sequence[int]) -> str:
    """Return a checksum of the token ids and all metadata, without the contents."""
    shapes = sorted((name, str(dtype), list(shape)) for name, (dtype, shape) in specs.items())
    return hashlib.sha256(json.dumps([shapes, salts, checksums]).encode() + ids.tobytes()).hexdigest()
