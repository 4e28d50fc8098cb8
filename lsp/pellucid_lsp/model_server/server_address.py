"""Finds the model server's address and key in the editor's settings, or else in Pellucid's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from platformdirs import user_data_path

from pellucid.client.address_settings import (
    APPLICATION,
    DEFAULT_HOST,
    DEFAULT_PORT,
    DEFAULT_PORTS,
    ENVIRONMENT_PREFIX,
    is_loopback,
    key_for,
    read_file,
    url_of,
)
from pellucid.errors import ConfigError
from pellucid.system.api_keys import read_key_file
from pellucid_lsp.editor_settings import ServerSettings

KEY_SETTINGS = {"api_key", "api_key_file"}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server's URL, the host and port that it listens on, and its API key."""

    url: str
    host: str
    port: int
    key: str | None = field(default=None, repr=False)
    here: bool = True
    """True if ``pellucid serve`` on this machine would answer there."""
    withheld: str = ""
    """The reason why the key of Pellucid's own settings is not sent there, and the remedy; empty if
    it is sent, or there is none.
    """


def find_address(settings: ServerSettings, variables: Mapping[str, str], config_file: Path) -> ServerAddress:
    """Return the server's address.

    Raise ConfigError for an invalid address, or a settings file that cannot be read.
    """
    own = _own_settings(variables, config_file)
    own_key = _checked(_own_key(own))
    if not settings.url:
        host, port = str(own.get("host", DEFAULT_HOST)), _port(own.get("port", DEFAULT_PORT))
        return ServerAddress(url_of(host, port), host, port, _checked(settings.api_key) or own_key)
    where = _parsed(settings.url)
    if key := _checked(settings.api_key):
        return replace(where, key=key)
    if own_key is None:
        return where
    own_url = url_of(str(own.get("host", DEFAULT_HOST)), _port(own.get("port", DEFAULT_PORT)))
    if key := key_for(where.url, own_url, own_key):
        return replace(where, key=key)
    return replace(
        where,
        withheld=f"The API key in Pellucid's own settings is sent only to {own_url}: set pellucid.server.apiKey for {where.url}.",
    )


def data_folder(variables: Mapping[str, str], config_file: Path) -> Path:
    """Return the folder for the user's data."""
    given = _own_settings(variables, config_file).get("data")
    return Path(given).expanduser().absolute() if isinstance(given, str) else user_data_path(APPLICATION)


def _own_settings(variables: Mapping[str, str], config_file: Path) -> Mapping[str, object]:
    """Return Pellucid's own settings as they are written. The environment overrides the file."""
    prefix = len(ENVIRONMENT_PREFIX)
    environment = {
        name[prefix:].lower(): value
        for name, value in variables.items()
        if name.upper().startswith(ENVIRONMENT_PREFIX) and value
    }
    in_file = read_file(config_file)
    if KEY_SETTINGS & environment.keys():  # either replaces both
        in_file = {name: value for name, value in in_file.items() if name not in KEY_SETTINGS}
    return in_file | environment


def _own_key(own: Mapping[str, object]) -> object:
    """Return the key of Pellucid's own settings, which may be in a file of its own."""
    file = own.get("api_key_file")
    return read_key_file(Path(str(file)).expanduser()) if file else own.get("api_key")


def _port(given: object) -> int:
    try:
        port = int(str(given))
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise ConfigError(
            f"The port in Pellucid's own settings should be between 1 and 65535, not {given!r}: run `pellucid doctor` "
            "to see where it is set."
        )
    return port


def _checked(key: object) -> str | None:
    """Return a key, or None if it is empty.

    Raise ConfigError for one that an HTTP header cannot carry.
    """
    if not key:
        return None
    if isinstance(key, str) and key.isascii() and key.isprintable() and " " not in key:
        return key
    raise ConfigError(
        "The API key must be printable ASCII without spaces, because it is sent in an HTTP header: correct pellucid.server.apiKey."
    )


def _parsed(url: str) -> ServerAddress:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        host, port = None, None
    if host is None or port is None or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(f"pellucid.server.url should be an address like {url_of(DEFAULT_HOST, DEFAULT_PORT)}.")
    here = parts.scheme == "http" and is_loopback(host) and parts.path in ("", "/")
    return ServerAddress(url.rstrip("/"), host, port, here=here)
