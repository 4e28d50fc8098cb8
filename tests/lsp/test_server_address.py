"""The language server and ``pellucid serve`` read the same address from Pellucid's settings."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.client.address_settings import key_for
from pellucid.config import load_settings
from pellucid.errors import ConfigError
from pellucid_lsp.editor_settings import ServerSettings
from pellucid_lsp.model_server.server_address import ServerAddress, find_address

NONE = Path("/nowhere/config.toml")


@pytest.mark.parametrize(
    ("variables", "file"),
    [
        ({}, ""),
        ({"PELLUCID_PORT": "9000"}, ""),
        ({"PELLUCID_PORT": "9000", "PELLUCID_HOST": "::1"}, "port = 1"),
        ({"PELLUCID_HOST": "0.0.0.0", "PELLUCID_API_KEY": "k"}, ""),
        ({"PELLUCID_PORT": "", "PELLUCID_SLOTS": "4"}, 'port = 9001\nhost = "localhost"\napi_key = "f"\nslots = 3'),
        ({"PELLUCID_API_KEY": "e"}, 'api_key = "f"'),
    ],
)
def test_it_is_where_the_server_s_own_settings_say(
    variables: dict[str, str], file: str, config_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any of Pellucid's settings, the language server finds the server's address and key."""
    (config_home / "config.toml").write_text(file)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    models = load_settings()

    found = find_address(ServerSettings(), variables, config_home / "config.toml")

    assert found == ServerAddress(models.url, models.host, models.port, models.key)


@pytest.mark.parametrize(
    ("url", "host", "port", "here"),
    [
        ("http://127.0.0.1:9000/", "127.0.0.1", 9000, True),
        ("http://localhost:9000", "localhost", 9000, True),
        ("http://[::1]:9000", "::1", 9000, True),
        ("http://localhost", "localhost", 80, True),
        ("http://localhost:9000/pellucid", "localhost", 9000, False),
        ("https://localhost:9000", "localhost", 9000, False),
        ("http://192.168.0.4:9000", "192.168.0.4", 9000, False),
        ("https://example.org", "example.org", 443, False),
    ],
)
def test_address_of_the_editor_s_settings(url: str, host: str, port: int, here: bool) -> None:
    """The editor's address has priority; only a plain loopback address can be served locally."""
    found = find_address(
        ServerSettings(url=url, api_key="k"), {"PELLUCID_PORT": "1", "PELLUCID_API_KEY": "other"}, NONE
    )

    assert found == ServerAddress(url.rstrip("/"), host, port, "k", here)


OWN = {"PELLUCID_API_KEY": "own"}


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        *[
            (f"http://{host}:8437{end}", OWN)
            for host in ("127.0.0.1", "localhost", "LOCALHOST")
            for end in ("", "/", "/v1")
        ],
        ("https://127.0.0.1:8437", OWN),
        ("http://127.0.0.1:8437", OWN | {"PELLUCID_HOST": "0.0.0.0"}),
        ("http://gpu.example.org:80", OWN | {"PELLUCID_HOST": "gpu.example.org", "PELLUCID_PORT": "80"}),
        ("http://GPU.example.org", OWN | {"PELLUCID_HOST": "gpu.example.org", "PELLUCID_PORT": "80"}),
    ],
)
def test_the_key_goes_to_the_address_of_its_own_settings(url: str, variables: dict[str, str]) -> None:
    """The key of Pellucid's settings is sent to the settings' host and port, in any spelling."""
    assert find_address(ServerSettings(url=url), variables, NONE).key == "own"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://evil.example.org",
            "http://evil.example.org:8437",
            "https://evil.example.org:8437",
            "http://127.0.0.1:8438",
        ),
        *(
            "http://127.0.0.1",
            "http://127.0.0.2:8437",
            "http://127.0.0.1.example.org:8437",
            "http://localhost.example.org:8437",
        ),
        *("http://2130706433:8437", "http://127.1:8437", "http://[::ffff:127.0.0.1]:8437", "http://0.0.0.0:8437"),
        "http://[::1]:8437",
    ],
)
@pytest.mark.parametrize("own", [OWN, OWN | {"PELLUCID_PORT": "8437", "PELLUCID_HOST": "localhost"}])
def test_the_key_goes_nowhere_else(url: str, own: dict[str, str]) -> None:
    """An unknown address gets no key but a message with the remedy, unless the editor has a key."""
    found = find_address(ServerSettings(url=url), own, NONE)
    assert found.key is None
    host = own.get("PELLUCID_HOST", "127.0.0.1")
    assert found.withheld == (
        f"The API key in Pellucid's own settings is sent only to http://{host}:8437: "
        f"set pellucid.server.apiKey for {url}."
    )
    assert find_address(ServerSettings(url=url, api_key="given"), own, NONE) == replace(found, key="given", withheld="")
    assert find_address(ServerSettings(url=url), {}, NONE).withheld == ""


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1:8437@evil.example.org",
            "http://evil.example.org\\@127.0.0.1:8437",
            "http://127.0.0.1:8437\\.evil.example.org",
        ),
        *(
            "http://127.0.0.1:8437#@evil.example.org",
            "http://127.0.0.1:8437?@evil.example.org",
            "http://evil.example.org\t@127.0.0.1:8437",
        ),
        *(
            "http://ev\nil.example.org",
            "http://127.0.0.1:8437 @evil.example.org",
            "http:///127.0.0.1:8437",
            "http://127。0。0。1:8437",
        ),
    ],
)
def test_addresses_that_may_be_misread(url: str) -> None:
    """An ambiguous address gets no key of Pellucid's own settings."""
    assert key_for(url, "http://127.0.0.1:8437", "own") is None
    with suppress(ConfigError):
        assert find_address(ServerSettings(url=url), OWN, NONE).key is None


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8437",
        "127.0.0.1",
        "ftp://localhost",
        "http://",
        "http://x:99999",
        "http://u:p@x",
        "http://x/?a",
        "http://[::1",
    ],
)
def test_what_is_no_address(url: str) -> None:
    """The error about an invalid address has an example, but not the address with any password."""
    with pytest.raises(ConfigError) as raised:
        find_address(ServerSettings(url=url), {}, NONE)

    assert str(raised.value) == "pellucid.server.url should be an address like http://127.0.0.1:8437."


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_wrong_port(port: str) -> None:
    """The error about an invalid port names the port and the command to find the setting."""
    with pytest.raises(ConfigError, match=rf"should be between 1 and 65535, not '{port}': run `pellucid doctor`"):
        find_address(ServerSettings(), {"PELLUCID_PORT": port}, NONE)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The error about a settings file with invalid TOML names the file."""
    (tmp_path / "config.toml").write_text("port =")

    with pytest.raises(ConfigError, match=r"^The settings in .*config\.toml cannot be read"):
        find_address(ServerSettings(), {}, tmp_path / "config.toml")


@pytest.mark.parametrize("key", ["a b", "é", "a\nb"])
def test_key_that_cannot_travel(key: str) -> None:
    """A key unfit for a header is refused, and not repeated."""
    with pytest.raises(ConfigError) as raised:
        find_address(ServerSettings(api_key=key), {}, NONE)

    assert key not in str(raised.value)


def test_the_key_is_not_shown() -> None:
    """The repr of an address does not contain the key."""
    assert "hunter2" not in repr(find_address(ServerSettings(api_key="hunter2"), {}, NONE))


def test_key_file(tmp_path: Path) -> None:
    """The key may be in a file; the environment overrides both settings of config.toml."""
    path, config = tmp_path / "key", tmp_path / "config.toml"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    config.write_text(f'api_key_file = "{path}"\n')
    assert find_address(ServerSettings(), {}, config).key == "hunter2"
    assert find_address(ServerSettings(), {"PELLUCID_API_KEY": "e"}, config).key == "e"
    assert find_address(ServerSettings(api_key="k"), {}, config).key == "k"

    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        find_address(ServerSettings(), {}, config)
