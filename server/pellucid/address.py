"""Where a server is by default and by the settings: what it and those who look for it agree on, without pydantic's weight."""

from __future__ import annotations

import tomllib
from ipaddress import ip_address
from pathlib import Path

from pellucid.errors import ConfigError

APPLICATION = "pellucid"
"""What the platform's folders for us are called."""

ENVIRONMENT_PREFIX = "PELLUCID_"
CONFIG_FILE = "config.toml"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8437
PAGE_PORT = 8438
"""Where the page listens when it runs by itself."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(host: str, port: int) -> str:
    """Where this machine reaches a server that listens on ``host``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- to be told apart, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def read_file(path: Path) -> dict[str, object]:
    """The settings in a file; none where there is no file. Raises ConfigError for one that cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The settings in {path} cannot be read: {error}.") from error
