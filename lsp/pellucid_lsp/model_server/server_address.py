"""The model server's address and key, from the editor's settings or else Pellucid's own."""

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
from pellucid.door.api_keys import read_key_file
from pellucid.errors import ConfigError
from pellucid_lsp.editor_settings import ServerSettings

KEY_SETTINGS = {"api_key", "api_key_file"}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    url: str
    host: str
    port: int
    key: str | None = field(default=None, repr=False)
    here: bool = True
    """Whether ``pellucid serve`` on this machine would answer at this address."""
    withheld: str = ""
    """The reason for not sending the key of Pellucid's own settings, and the remedy; or empty."""


def find_address(settings: ServerSettings, variables: Mapping[str, str], config_file: Path) -> ServerAddress:
    """Return the address. Raise ConfigError for an invalid address or unreadable settings file."""
    own = _own_settings(variables, config_file)
    key_file = own.get("api_key_file")
    own_key = _checked(read_key_file(Path(str(key_file)).expanduser()) if key_file else own.get("api_key"))
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
        withheld=(
            f"The API key in Pellucid's own settings is sent only to {own_url}: "
            f"set pellucid.server.apiKey for {where.url}."
        ),
    )


def data_folder(variables: Mapping[str, str], config_file: Path) -> Path:
    given = _own_settings(variables, config_file).get("data")
    return Path(given).expanduser().absolute() if isinstance(given, str) else user_data_path(APPLICATION)


def _own_settings(variables: Mapping[str, str], config_file: Path) -> Mapping[str, object]:
    """Return Pellucid's own settings, unparsed. The environment overrides the file."""
    prefix = len(ENVIRONMENT_PREFIX)
    environment = {
        name[prefix:].lower(): value
        for name, value in variables.items()
        if name.upper().startswith(ENVIRONMENT_PREFIX) and value
    }
    in_file = read_file(config_file)
    if KEY_SETTINGS & environment.keys():  # Either setting replaces both settings.
        in_file = {name: value for name, value in in_file.items() if name not in KEY_SETTINGS}
    return in_file | environment


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
    """Return a key or `None`. Raise ConfigError for a key that cannot be in an HTTP header."""
    if not key:
        return None
    if isinstance(key, str) and key.isascii() and key.isprintable() and " " not in key:
        return key
    raise ConfigError(
        "The API key must be printable ASCII without spaces, because it is sent in an HTTP header: "
        "correct pellucid.server.apiKey."
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
