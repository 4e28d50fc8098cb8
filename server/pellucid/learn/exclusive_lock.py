"""A lock file against a second process with the same work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pellucid.errors import InvalidRequestError
from pellucid.system.atomic_files import OTHER_CACHE, errors_explained


@contextmanager
def locked(path: Path, busy: str, elsewhere: str = OTHER_CACHE) -> Iterator[None]:
    """Hold a lock file; a missing folder is created.

    Raise InvalidRequestError with the sentence ``busy`` if another process holds the lock, and
    ModelError with the remedy ``elsewhere`` if the folder is not writable.
    """
    with errors_explained(path.parent, elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InvalidRequestError(busy) from None
    try:
        yield
    finally:
        lock.release()
