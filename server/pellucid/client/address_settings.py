"""Defines the address and the settings file that a server and its clients agree on, without importing pydantic."""

from __future__ import annotations

import re
import tomllib
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pellucid.errors import ConfigError, PellucidError
from pellucid.system.regular_files import read_text

APPLICATION = "pellucid"
"""The name of our folders in the platform's places for settings, data and caches."""

ENVIRONMENT_PREFIX = "PELLUCID_"
CONFIG_FILE = "config.toml"
LARGEST_SETTINGS = 1 << 20
"""Bytes of the largest settings file."""

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8437
PAGE_PORT = 8438
"""The port of the page when it runs by itself."""

DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/.*)?", re.ASCII | re.IGNORECASE)
"""A URL that all parsers read in the same way."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(host: str, port: int) -> str:
    """Return the URL by which this machine reaches a server that listens on ``host``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def key_for(url: str, own_url: str, own_key: str | None) -> str | None:
    """Return the key of Pellucid's own settings if ``url`` has the host and port of these settings, else None."""
    return own_key if _place(url) is not None and _place(url) == _place(own_url) else None


def _place(url: str) -> tuple[str, int | None] | None:
    """Return the host and port of a URL; None for a URL that parsers may read differently."""
    if _PLAIN.fullmatch(url) is None:
        return None
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    # ::1 and the rest of 127.0.0.0/8 are other addresses, where other users of this machine may
    # listen.
    return DEFAULT_HOST if host == "localhost" else host, parts.port or DEFAULT_PORTS[parts.scheme]


def read_file(path: Path) -> dict[str, object]:
    """Return the settings in a file, or none if there is no file.

    Raises ConfigError for a file that cannot be read.
    """
    try:
        return tomllib.loads(read_text(path, LARGEST_SETTINGS, ConfigError))
    except FileNotFoundError:
        return {}
    except (PellucidError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The settings in {path} cannot be read: {str(error).rstrip('.')}.") from error
