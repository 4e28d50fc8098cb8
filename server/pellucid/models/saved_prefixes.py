"""Prefixes of prompts on disk: what a server had read before it left, so that its next start need not read it again.

The file holds what users typed, as token ids, with the keys and values of a model; only its owner may read it.
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

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from pellucid.engine.kv_snapshot import Ids, KVSnapshot, checksum
from pellucid.engine.model import CacheShape
from pellucid.engine.native import calls
from pellucid.engine.packed_shapes import Spec
from pellucid.errors import ModelError
from pellucid.models.tensor_file import UNREADABLE, TensorFile
from pellucid.system import atomic_files
from pellucid.system.large_pages import large_pages

VERSION = 2  # of the file, and of how the decoders compute keys and values: what another version saved is not used

logger = logging.getLogger(__name__)


class PrefixFile:
    """The saved prefixes of one model in one form; see :class:`pellucid.engine.parked_prefixes.SavedPrefixes`.

    ``key`` says what made them: of another key nothing is used. ``source`` is a file of the model, without which nothing is saved.
    """

    def __init__(self, path: Path, key: str, shape: CacheShape, source: Path) -> None:
        self.path = path
        self._key = key
        self._shape = shape
        self._source = source

    def of_variant(self, name: str, made_of: str, source: Path) -> PrefixFile:
        """Where the prefixes of an adapted model are saved; ``made_of`` tells one state of the adapter from another."""
        path = self.path.with_name(f"{self.path.stem}+{name}{self.path.suffix}")
        key = hashlib.sha256(repr((self._key, made_of)).encode()).hexdigest()
        return PrefixFile(path, key, self._shape, source)

    def read(self) -> list[KVSnapshot]:
        """The saved prefixes, the most recently used first. Their contents are read and verified when they are first looked at.

        A file that is damaged or was made by another model, kernel or version is deleted.
        """
        for part in self.path.parent.glob(f"{self.path.name}.*.part"):
            with suppress(OSError):  # of a disk that is read-only
                part.unlink()  # of a process that was killed
        try:
            return self._open()
        except FileNotFoundError:
            return []
        except UNREADABLE as error:
            logger.warning("The saved prefixes in %s cannot be used (%s) and are deleted.", self.path, error)
            self.delete()
            return []

    def write(self, prefixes: Sequence[KVSnapshot]) -> None:
        """Replace the file by these, the most recently used first; what the disk says against that is one line in the log."""
        there = self._source.exists()  # the model may have been removed, and what was saved of it is not to come back
        given, prefixes = len(prefixes), [prefix for prefix in prefixes if there and prefix.intact]
        if there and len(prefixes) < given:
            logger.warning("%d of %d prefixes are damaged on the disk and are not saved again.", given - len(prefixes), given)
        if not prefixes:
            self.delete()
            return
        ids = torch.cat([torch.from_numpy(prefix.ids) for prefix in prefixes])
        checksums = [prefix.checksum for prefix in prefixes]
        tensors = {"ids": ids, **{str(number): prefix.content for number, prefix in enumerate(prefixes)}}
        specs = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
        metadata = {"key": self._key, "checksums": json.dumps(checksums), "checksum": _checksum(ids, specs, checksums)}
        try:
            with atomic_files.errors_explained(self.path.parent), self._part(sum(tensor.nbytes for tensor in tensors.values())) as part:
                save_file(tensors, part, metadata)
                # Not synced, or leaving would wait for the disk: what a power cut spoils is found by the checksums.
                part.replace(self.path)
        except ModelError as error:
            logger.warning("The prefix cache is not saved: %s", error)

    def delete(self) -> None:
        """Delete what is saved, if anything."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s cannot be deleted: %s", self.path, error.strerror or error)

    def _open(self) -> list[KVSnapshot]:
        file = TensorFile(self.path)
        if file.metadata.get("key") != self._key:
            raise ValueError("another model, kernel or version made them")
        ids = file.read("ids", torch.empty(file.size("ids"), dtype=torch.uint8))
        checksums = json.loads(file.metadata["checksums"])
        if _checksum(ids, file.specs, checksums) != file.metadata.get("checksum"):
            raise ValueError("their token ids or checksums are damaged")
        names = [str(number) for number in range(len(checksums))]
        lengths = [self._tokens(*file.specs[name]) for name in names]
        if sum(lengths) != len(ids):
            raise ValueError(f"{len(ids)} token ids do not make prefixes of {lengths} tokens")
        parts = np.split(ids.numpy(), np.cumsum(lengths)[:-1])
        return [_unread(file, *saved) for saved in zip(names, parts, checksums, strict=True)]

    def _tokens(self, dtype: torch.dtype, size: tuple[int, ...]) -> int:
        """How many tokens a content is of. Raises ValueError for one that has another shape than the cache."""
        shape = self._shape
        layers, heads, tokens, dim = size
        if (layers, heads, dim, dtype) != (2 * shape.layers, shape.kv_heads, shape.head_dim, shape.dtype):
            raise ValueError(f"a content has the shape {size}")
        return tokens

    @contextmanager
    def _part(self, size: int) -> Iterator[Path]:
        """A file for ``size`` bytes beside ours, gone in the end unless it was given another name."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.require_space(self.path.parent, size)
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # nobody else's before there is anything in it
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)


def prefix_key(source: str, form: str, shape: CacheShape) -> str:
    """What makes keys and values valid, to the bit: the ``source`` of the weights, their ``form``, the cache's shape, and what computes."""
    device = shape.device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    made_by = (torch.__version__, version("transformers"), where, calls.build())
    layout = (shape.layers, shape.kv_heads, shape.head_dim, str(shape.dtype))
    return hashlib.sha256(repr((VERSION, source, form, layout, made_by)).encode()).hexdigest()


def _unread(file: TensorFile, name: str, ids: Ids, promised: int) -> KVSnapshot:
    dtype, shape = file.specs[name]
    return KVSnapshot(ids, torch.empty(shape, dtype=dtype, device="meta"), partial(_read_content, file, name, promised))


def _read_content(file: TensorFile, name: str, promised: int) -> Tensor | None:
    """A saved content in memory; None for one that is damaged or cannot be read any more."""
    try:
        content = file.read(name, large_pages(file.size(name)))
    except OSError:
        return None
    return content if checksum(content) == promised else None


def _checksum(ids: Tensor, specs: Mapping[str, Spec], checksums: Sequence[int]) -> str:
    """A checksum over the token ids, and over what else the file says but for the contents themselves."""
    shapes = sorted((name, str(dtype), list(shape)) for name, (dtype, shape) in specs.items())
    return hashlib.sha256(json.dumps([shapes, checksums]).encode() + ids.numpy().tobytes()).hexdigest()
