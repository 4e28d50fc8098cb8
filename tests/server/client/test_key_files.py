"""The API key can come from a private file, and a visible key causes a warning."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pellucid.cli.app import app
from pellucid.cli.doctor import examine, processes_showing_a_key
from pellucid.config import load_settings, origins
from pellucid.door.api_keys import read_key_file
from pellucid.errors import ConfigError
from pellucid.serving import serve as serving


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "my key.txt"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def visible() -> Iterator[int]:
    """Run a process with a key on the command line, like a server."""
    command = [sys.executable, "-c", "print(flush=True); input()", "pellucid", "serve", "--api-key", "hunter2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_from_a_file(key_file: Path, config_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag, a variable and config.toml can name the key file; the settings hide the key."""
    assert load_settings(api_key_file=key_file).key == "hunter2"
    assert origins(api_key_file=key_file)["api_key"] == "the file of --api-key-file"

    (config_home / "config.toml").write_text(f'api_key_file = "{key_file}"\n')
    assert load_settings().key == "hunter2"

    monkeypatch.setenv("PELLUCID_API_KEY_FILE", str(key_file))
    assert load_settings(host="0.0.0.0").key == "hunter2"
    assert origins()["api_key"] == "the file of PELLUCID_API_KEY_FILE in the environment"
    assert "hunter2" not in repr(load_settings())


def test_the_stronger_place_holds(key_file: Path, monkeypatch: pytest.MonkeyPatch, config_home: Path) -> None:
    """A flag overrides the environment, and the environment the file, for both key settings."""
    monkeypatch.setenv("PELLUCID_API_KEY", "weaker")
    assert load_settings(api_key_file=key_file).key == "hunter2"
    assert load_settings(api_key="flag").key == "flag"

    (config_home / "config.toml").write_text('api_key_file = "nowhere"\n')
    assert load_settings().key == "weaker"
    monkeypatch.setenv("PELLUCID_API_KEY_FILE", str(key_file))
    assert load_settings(api_key="flag").api_key_file is None
    with pytest.raises(ConfigError) as raised:
        load_settings()
    names = "PELLUCID_API_KEY in the environment and PELLUCID_API_KEY_FILE in the environment"
    assert str(raised.value) == f"{names} both give an API key: use only one of them."


@pytest.mark.skipif(os.name != "posix", reason="modes mean nothing there")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o777])
def test_files_that_others_can_read(key_file: Path, mode: int) -> None:
    """A key file open to other users is refused, with the command to fix the mode."""
    key_file.chmod(mode)
    with pytest.raises(ConfigError) as raised:
        load_settings(api_key_file=key_file)
    assert str(raised.value) == f"Other users can read the API key in {key_file}: run chmod 600 '{key_file}'."


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only a superuser can give a file away")
def test_files_of_others(key_file: Path) -> None:
    """Another user's key file is refused, with the command to fix the owner."""
    os.chown(key_file, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to another user, who can read the API key in it: run chown 0 "):
        read_key_file(key_file)


def test_files_without_a_key(tmp_path: Path, key_file: Path) -> None:
    """The error for a path without a key names the path, not the text; a pipe does not block."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    key_file.write_text("two words\n")
    for path, end in (
        (
            tmp_path / "none",
            (
                f"The API key cannot be read from {tmp_path / 'none'} (No such file or directory): name a file "
                "that you can read."
            ),
        ),
        (
            tmp_path,
            f"The API key cannot be read: {tmp_path} is a folder, but only regular files are read: name a file.",
        ),
        (
            pipe,
            (
                f"The API key cannot be read: {pipe} is a pipe, but only regular files are read: write its "
                "content to a file"
            ),
        ),
        (
            key_file,
            f"The API key in {key_file} must be printable ASCII without spaces, because it is sent in an HTTP header.",
        ),
    ):
        with pytest.raises(ConfigError) as raised:
            load_settings(api_key_file=path)
        assert str(raised.value).startswith(end)
        assert "two words" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "warned"), [(["--api-key", "hunter2"], True), (["--api-key-file", ""], False), ([], False)]
)
def test_warning(options: list[str], warned: bool, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key on the command line works, with a single warning and a safer alternative."""
    found: list[str | None] = []
    monkeypatch.setattr(serving, "run", lambda settings: found.append(settings.key))
    result = CliRunner().invoke(app, ["serve", *(option or str(key_file) for option in options)])

    assert (result.exit_code, found) == (0, ["hunter2" if options else None])
    sentence = (
        "Every user of this machine can read --api-key in the process list. Use --api-key-file or "
        "PELLUCID_API_KEY instead."
    )
    assert result.stderr.count(sentence) == int(warned)
    assert "hunter2" not in result.output


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are looked up in /proc")
def test_doctor_finds_visible_keys(visible: int) -> None:
    """The doctor names a process with a visible key, but not the key."""
    assert visible in processes_showing_a_key()
    found = examine(load_settings())["key"]
    assert any(
        line.startswith(f"process {visible} shows its key to every user of this machine on its command line")
        for line in found
    )
    assert "hunter2" not in repr(found)


def test_doctor_says_what_no_key_means(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor names the risk of a missing key, and the source of a key."""
    found = examine(load_settings())["key"]
    assert found[0] == "none: every user of this machine can use the API and the page, and read its conversations"
    assert "mode 600" in found[1]

    monkeypatch.setenv("PELLUCID_API_KEY_FILE", str(key_file))
    assert examine(load_settings())["key"][0] == "set, from the file of PELLUCID_API_KEY_FILE in the environment"
