"""Normalization of document URIs, so that every rule sees a single form.

The same file has many URIs: ``file:///p/a.py``, ``file:/p/a.py``, ``FILE://localhost/p/%61.py``. A
URI is decoded once, because editors encode it once. The name of this machine and doubled slashes
are dropped.
"""

from __future__ import annotations

import re
import socket
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote_to_bytes

from pellucid.client.address_settings import is_loopback

WINDOWS = sys.platform == "win32"

_URI = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*):)?(?://(?P<host>[^/?#]*))?(?P<path>[^?#]*)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_DRIVE = re.compile(r"/+([A-Za-z]):(?=/|$)")


@dataclass(frozen=True, slots=True)
class Address:
    """The decoded parts of a URI.

    ``host`` is empty for a file of this machine; ``path`` begins with one slash.
    """

    scheme: str
    host: str
    path: str
    rest: str
    """Query and fragment. Some editors do not encode ``?`` and ``#`` in file names."""

    @property
    def is_remote_file(self) -> bool:
        """True for a file on another machine; only Windows can open the URI."""
        return self.scheme == "file" and bool(self.host) and not WINDOWS


@lru_cache(maxsize=1024)
def read(uri: str) -> Address:
    """Split a URI into decoded parts. Text that is not a URI is a path."""
    parts = _URI.fullmatch(uri)
    assert parts is not None, "all of it may be empty"
    scheme, host, path = (parts["scheme"] or "").lower(), _decoded(parts["host"] or ""), _decoded(parts["path"])
    # A share, as written by some editors.
    if scheme == "file" and WINDOWS and not host and path.startswith("//"):
        host, _, path = path.lstrip("/").partition("/")
    if scheme == "file":
        name = host.lower().removeprefix("[").removesuffix("]").removesuffix(".")
        if name in ("", socket.gethostname().lower()) or is_loopback(name):  # This machine.
            host = ""
    return Address(scheme, host, "/" + path.lstrip("/"), _decoded(parts["rest"]))


def same_document(uri: str, other: str) -> bool:
    return uri == other or read(uri) == read(other)


def document_of(uri: str) -> str:
    """Return the shared part of a document's URIs. Notebook cells differ only after ``#``."""
    address = read(uri)
    return f"{address.host}{address.path}"


def file_path(uri: str) -> Path | None:
    """Return the path of a URI's file; None if not a file or on another machine."""
    address = read(uri)
    if address.scheme != "file" or address.is_remote_file:
        return None
    return Path(windows_path(address) if WINDOWS else address.path)


def windows_path(address: Address) -> str:
    """Return the Windows path of a file: with a drive, or with a host and share."""
    if address.host:
        return f"//{address.host}{address.path}"
    drive = _DRIVE.match(address.path)
    return address.path if drive is None else f"{drive[1].lower()}:{address.path[drive.end() :] or '/'}"


def _decoded(text: str) -> str:
    """Decode percent signs once.

    Keep non-UTF-8 bytes as in file names, and drop NUL, never present in a file name.
    """
    return unquote_to_bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogateescape").replace("\0", "")
