"""A running server follows changes of the key file, and ignores a wrong file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from pellucid.config import load_settings
from pellucid.door import api_keys
from pellucid.door.api_keys import CHECK_SECONDS, WatchedKeys, read_key_file, read_keys
from pellucid.errors import ConfigError
from support.servers.http_servers import live_scripted

ANNA, BEN = "key-of-anna", "key-of-ben"
BOTH = f"anna:{ANNA}\nben:{BEN}\n"
FORMER = "The former keys stay in force."


@dataclass
class KeyFile:
    """A key file, the watched keys and the clock."""

    path: Path
    now: float = 0.0

    def __post_init__(self) -> None:
        self.write(BOTH)
        self.keys = WatchedKeys(self.path, read_keys(read_key_file(self.path)), clock=lambda: self.now)

    def write(self, text: str) -> None:
        """Replace the file, and advance the clock to the next check."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o600)
        new.replace(self.path)
        self.now += CHECK_SECONDS


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys")


def statuses(http: httpx.Client, *keys: str) -> list[int]:
    """Return the status of a request with each key."""
    return [http.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code for key in keys]


@pytest.fixture
def http(file: KeyFile) -> Iterator[httpx.Client]:
    """A client of a running server with the keys of the file."""
    with live_scripted(keys=file.keys) as server:
        yield server.http


@pytest.mark.parametrize(
    "text", [f"anna:{ANNA},ben:{BEN}", BOTH, f"\ufeff{BOTH}", f"# the team\n\n  anna:{ANNA}\r\n# ben:old\nben:{BEN}"]
)
def test_spellings(file: KeyFile, text: str) -> None:
    """Users can share a line or have a line each, with comments and empty lines."""
    file.write(text)
    assert load_settings(api_key_file=file.path).keys is not None
    assert dict(file.keys.by_owner) == {"anna": ANNA, "ben": BEN}


def test_users_come_and_go(file: KeyFile, http: httpx.Client) -> None:
    """A new key works at the next request; a removed or changed key no longer works."""
    assert statuses(http, ANNA, BEN, "key-of-clara") == [200, 200, 401]

    file.write("anna:changed\nclara:key-of-clara\n")

    assert statuses(http, ANNA, "changed", BEN, "key-of-clara") == [401, 200, 401, 200]


def test_checked_once_a_second(file: KeyFile, http: httpx.Client) -> None:
    """The key file is checked at most once a second."""
    assert statuses(http, BEN) == [200]
    file.write(f"anna:{ANNA}")
    file.now -= CHECK_SECONDS

    assert statuses(http, BEN) == [200]
    file.now += CHECK_SECONDS
    assert statuses(http, BEN) == [401]


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [
        ("", 0o600, "There is no API key in {path}: write KEY, or NAME:KEY in a line for each user. "),
        ("# no user\n", 0o600, "There is no API key in {path}: write KEY, or NAME:KEY in a line for each user. "),
        (
            "anna:secret-1\nsecret-2",
            0o600,
            "The API key in {path} must give every user a different name and key, as in anna:KEY,ben:KEY. ",
        ),
        (
            "anna:secret 1",
            0o600,
            "The API key in {path} must be printable ASCII without spaces, because it is sent in an HTTP header. ",
        ),
        ("anna:secret-1", 0o644, "Other users can read the API key in {path}: run chmod 600 {path}. "),
        (
            "a:" + "k" * 2**20,
            0o600,
            "{path} has 1,048,578 bytes, but at most 1,048,576 are read: name a smaller file. ",
        ),
        (
            "ann",
            0o600,
            "{path} has one key for all, no longer one for each user: restart the server if you mean that. ",
        ),
    ],
    ids=["empty", "comments", "unnamed", "spaces", "readable", "large", "shared"],
)
def test_wrong_files(
    file: KeyFile, http: httpx.Client, caplog: pytest.LogCaptureFixture, text: str, mode: int, problem: str
) -> None:
    """With a wrong file the former keys stay in force, and a single warning gives the reason."""
    file.write(text)
    file.path.chmod(mode)
    with caplog.at_level(logging.WARNING, logger="pellucid"):
        for _ in range(3):
            file.now += CHECK_SECONDS
            assert statuses(http, ANNA, BEN) == [200, 200]

    assert [record.getMessage() for record in caplog.records] == [problem.format(path=file.path) + FORMER]
    assert "secret" not in caplog.text


def test_mended_file(file: KeyFile, http: httpx.Client) -> None:
    """An unreadable file is read after a change of the mode alone."""
    file.write("clara:key-of-clara")
    file.path.chmod(0o644)
    assert statuses(http, ANNA) == [200]
    file.path.chmod(0o600)
    file.now += CHECK_SECONDS

    assert statuses(http, ANNA, "key-of-clara") == [401, 200]


def test_file_that_is_gone(file: KeyFile, http: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """After the removal of the file, the former keys work and other keys are refused."""
    assert statuses(http, ANNA) == [200]
    file.path.unlink()
    file.now += CHECK_SECONDS

    assert statuses(http, ANNA, "other") == [200, 401]
    assert len(caplog.records) == 1


def test_many_users(file: KeyFile) -> None:
    """A key file can have 5000 users."""
    file.write("\n".join(f"user{number:04}:{number:048x}" for number in range(5000)))
    assert len(file.keys.by_owner) == 5000


def test_a_shared_key_becomes_named(tmp_path: Path) -> None:
    """A file with a shared key can change to a key for each user."""
    file = KeyFile(tmp_path / "keys")
    file.write("shared")
    keys = WatchedKeys(file.path, read_keys("shared"), clock=lambda: file.now)
    assert set(keys.by_owner) == {"local"}
    file.write(BOTH)
    assert set(keys.by_owner) == {"anna", "ben"}


@pytest.mark.parametrize(
    ("owner", "mode", "allowed"),
    [(0, 0o440, True), (0, 0o444, False), (0, 0o460, False), (7, 0o440, False), (7, 0o400, True)],
)
def test_secrets_of_a_service(
    owner: int, mode: int, allowed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A service may read root's file by group, as under systemd; its own file must be private."""
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    status = cast("os.stat_result", SimpleNamespace(st_mode=0o100000 | mode, st_uid=owner))
    if allowed:
        api_keys._check_private(tmp_path, status)
    else:
        with pytest.raises(ConfigError, match="chmod"):
            api_keys._check_private(tmp_path, status)
