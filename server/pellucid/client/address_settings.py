"""Address and settings file shared by servers and clients, without pydantic."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from pellucid.errors import ConfigError, PellucidError
from pellucid.system.regular_files import read_text

APPLICATION = "pellucid"
"""The name of Pellucid's folders for settings, data and caches."""

ENVIRONMENT_PREFIX = "PELLUCID_"
CONFIG_FILE = "config.toml"
LARGEST_SETTINGS = 1 << 20
"""Maximum size of a settings file, in bytes."""

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8437
PAGE_PORT = 8438
"""The port of a separate page."""

DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/.*)?", re.ASCII | re.IGNORECASE)
"""A URL that all parsers read in the same way."""


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(host: str, port: int) -> str:
    """Return the URL, for this machine, of a server that listens on ``host``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def key_for(url: str, own_url: str, own_key: str | None) -> str | None:
    """Return the key of Pellucid's own settings if ``url`` has the host and port of ``own_url``."""
    return own_key if _place(url) is not None and _place(url) == _place(own_url) else None


def _place(url: str) -> tuple[str, int | None] | None:
    """Return the host and port of a URL, or `None` if parsers may disagree about the URL."""
    if _PLAIN.fullmatch(url) is None:
        return None
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    # Other users of this machine may listen on ::1 and the rest of 127.0.0.0/8.
    return DEFAULT_HOST if host == "localhost" else host, parts.port or DEFAULT_PORTS[parts.scheme]


def read_file(path: Path) -> dict[str, object]:
    """Return the settings in a file, or {} without a file.

    Raises ConfigError for an unreadable file.
    """
    import tomllib  # An editor waits for the language server, which reads no settings at first.

    try:
        return tomllib.loads(read_text(path, LARGEST_SETTINGS, ConfigError))
    except FileNotFoundError:
        return {}
    except (PellucidError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The settings in {path} cannot be read: {str(error).rstrip('.')}.") from error
