"""Settings come from flag, environment, file and default, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.config import is_loopback, load_settings, origins
from pellucid.errors import ConfigError
from pellucid.models.catalog import DEFAULT_MODEL


def write(folder: Path, text: str) -> None:
    (folder / "config.toml").write_text(text, encoding="utf-8")


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the default model is served on loopback, port 8437."""
    monkeypatch.delenv("PELLUCID_CACHE", raising=False)
    settings = load_settings()

    assert (settings.models, settings.url) == ((DEFAULT_MODEL,), "http://127.0.0.1:8437")
    assert set(origins().values()) == {"default"}


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data folder is the platform's unless set; ~ is the user's home."""
    monkeypatch.setattr("pellucid.config.user_data_path", lambda name: tmp_path / name)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert load_settings().data == tmp_path / "pellucid"
    assert load_settings(data="~/talks").data == tmp_path / "talks"


@pytest.mark.parametrize(("text", "page"), [("false", False), ("0", False), ("no", False), ("true", True), ("1", True)])
def test_switch(config_home: Path, monkeypatch: pytest.MonkeyPatch, text: str, page: bool) -> None:
    """The page is on unless switched off in the environment, in the file or by a flag."""
    assert load_settings().page is True
    monkeypatch.setenv("PELLUCID_PAGE", text)
    assert load_settings().page is page
    assert load_settings(page=not page).page is not page
    monkeypatch.delenv("PELLUCID_PAGE")
    write(config_home, f"page = {str(page).lower()}")
    assert load_settings().page is page


def test_precedence(config_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag precedes the environment, the file and the default; `origins` names the source."""
    write(config_home, "port = 1\nslots = 2\nqueue = 3\n")
    monkeypatch.setenv("PELLUCID_PORT", "11")
    monkeypatch.setenv("PELLUCID_SLOTS", "12")

    settings = load_settings(port=21, slots=None)
    found = origins(port=21, slots=None)

    assert (settings.port, settings.slots, settings.queue, settings.chunk) == (21, 12, 3, 0)
    assert ["--port", "PELLUCID_SLOTS in the environment", f"queue in {config_home / 'config.toml'}", "default"] == [
        found[name] for name in ("port", "slots", "queue", "chunk")
    ]


def test_several_names(config_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are a list in the file and separated by commas in the environment."""
    write(config_home, 'models = ["a", "b"]\n')
    assert load_settings().models == ("a", "b")

    monkeypatch.setenv("PELLUCID_MODELS", "c, d,")
    assert load_settings().models == ("c", "d")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"port": 0}, "--port should be greater than or equal to 1, not 0."),
        ({"device": "gpu"}, "--device should be one of auto, cpu, cuda, cuda:N, mps, xpu or xpu:N, not 'gpu'."),
        ({"quant": "int3"}, "--quant should be 'auto', 'none', 'half', 'int8' or 'int4', not 'int3'."),
        (
            {"host": "0.0.0.0"},
            "Other machines can reach the host 0.0.0.0: set an API key (--api-key-file or PELLUCID_API_KEY).",
        ),
        ({"context": 63}, "--context should be a number of tokens, at least 64, or auto, not 63."),
        ({"context": "all"}, "--context should be a number of tokens, at least 64, or auto, not 'all'."),
        ({"kv_cache": "int4"}, "--kv-cache should be 'exact', 'int8' or 'auto', not 'int4'."),
        ({"models": ()}, "--model should name a model, not ()."),
        (
            {"trusted_proxies": "10.0.0.1,proxy.lan"},
            "--trusted-proxies should be IP addresses or networks like 10.0.0.0/8, not 'proxy.lan'",
        ),
        ({"trusted_proxies": "*"}, "--trusted-proxies should be IP addresses or networks like 10.0.0.0/8, not '*'"),
        (
            {"allowed_origins": "example.org"},
            "--allowed-origins should be origins like https://example.org, without a path",
        ),
    ],
)
def test_wrong_flag(flags: dict[str, object], sentence: str) -> None:
    """A wrong flag is named like on the command line, with the rule and the value."""
    with pytest.raises(ConfigError) as raised:
        load_settings(**flags)

    assert str(raised.value).startswith(sentence)


def test_wrong_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong variable is named in full."""
    monkeypatch.setenv("PELLUCID_PORT", "abc")

    with pytest.raises(ConfigError, match=r"^PELLUCID_PORT in the environment should be a valid integer.*'abc'\.$"):
        load_settings()


def test_unknown_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown variable is refused, with the likely setting."""
    monkeypatch.setenv("PELLUCID_SLOT", "4")

    with pytest.raises(
        ConfigError, match=r"^PELLUCID_SLOT in the environment is not a setting of Pellucid: did you mean slots\?$"
    ):
        load_settings()


def test_empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as not set."""
    monkeypatch.setenv("PELLUCID_PORT", "")

    assert (load_settings().port, origins()["port"]) == (8437, "default")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("colour = 1", r"colour in .*config\.toml is not a setting of Pellucid"),
        ("slots = true", r"slots in .*config\.toml should be a number or a string, not True"),
        ("slots = 0.5", r"slots in .*config\.toml should be a valid integer"),
        ("slots = [1]", r"slots in .*config\.toml should be a valid integer"),
        ("slots = ", r"The settings in .*config\.toml cannot be read"),
        ('page = "perhaps"', r"page in .*config\.toml should be a valid boolean"),
        ("[serve]\nport = 1", r"serve in .*config\.toml is not a setting of Pellucid"),
    ],
)
def test_wrong_file(config_home: Path, line: str, rule: str) -> None:
    """An unknown, ill-typed or unparsable setting in the file is reported with the file's name."""
    write(config_home, line)

    with pytest.raises(ConfigError, match=rule):
        load_settings()


def test_stronger_source_hides_wrong_value(config_home: Path) -> None:
    """A wrong value under a stronger source is ignored."""
    write(config_home, 'port = "no"')

    assert load_settings(port=5).port == 5


def test_key_opens_other_hosts() -> None:
    """With an API key any host is permitted; the URL stays the local address."""
    settings = load_settings(host="0.0.0.0", api_key="k")

    assert (settings.url, settings.key) == ("http://127.0.0.1:8437", "k")
    assert load_settings(host="::1").url == "http://[::1]:8437"


@given(
    st.text(min_size=1).filter(lambda key: not key.isascii() or any(c.isspace() or not c.isprintable() for c in key))
)
def test_key_must_travel(key: str) -> None:
    """A key that fits no HTTP header is refused, and the error does not repeat the key."""
    with pytest.raises(ConfigError) as raised:
        load_settings(api_key=key)

    assert (
        str(raised.value) == "--api-key must be printable ASCII without spaces, because it is sent in an HTTP header."
    )


def test_secret_stays_secret() -> None:
    """The repr of the settings does not contain the key."""
    assert "hunter2" not in repr(load_settings(api_key="hunter2"))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_where_the_key_may_go(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The key goes only to the settings' server; for any other server a message is printed."""
    settings = load_settings(api_key="secret", host=host)
    assert settings.key_for("http://localhost:8437/v1") == "secret"
    assert capsys.readouterr().err == ""
    assert settings.key_for("http://evil.example.org") is None
    assert capsys.readouterr().err == (
        f"The API key in the settings is sent only to {settings.url}: give the key for "
        "http://evil.example.org with --api-key-file.\n"
    )
    assert load_settings().key_for("http://evil.example.org") is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)),
        *(("192.168.0.4", False), ("example.org", False)),
    ],
)
def test_loopback(host: str, answer: bool) -> None:
    """Loopback is the addresses of RFC 1122 and 4291 and the name localhost, nothing else."""
    assert answer is is_loopback(host)
