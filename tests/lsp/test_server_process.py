"""A server's process has a recorded id and command line, and a log with a last line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pellucid_lsp.model_server import server_process
from pellucid_lsp.model_server.server_process import ServerRecord, command_line, last_line, start

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)", "--port", "1")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """An idle process that ends with the test."""
    process = subprocess.Popen(SLEEP)
    # The system lists the process a moment after the start.
    while not command_line(process.pid):
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()


@pytest.fixture(params=["proc", "ps"])
def told_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of systems to list processes."""
    if request.param == "ps":
        monkeypatch.setattr(server_process, "PROC", Path("/nowhere"))
    return str(request.param)


@pytest.mark.usefixtures("told_by")
def test_command_line(sleeper: subprocess.Popen[bytes]) -> None:
    """An exited process has no command line, reaped or not."""
    assert command_line(sleeper.pid) == " ".join(SLEEP)
    assert ServerRecord(sleeper.pid, SLEEP).runs()

    os.kill(sleeper.pid, 9)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not ServerRecord(sleeper.pid, SLEEP).runs()
    sleeper.wait()
    assert command_line(sleeper.pid) == ""


def test_another_process_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    """A record with a wrong command line is not running, and causes no signal."""
    other = ServerRecord(sleeper.pid, (*SLEEP[:-1], "2"))
    assert not other.runs()

    other.ask_to_exit()
    other.kill()

    assert ServerRecord(sleeper.pid, SLEEP).runs()


def test_asking_ends_it(sleeper: subprocess.Popen[bytes]) -> None:
    """A recorded process is stopped by the id."""
    ServerRecord(sleeper.pid, SLEEP).ask_to_exit()

    assert sleeper.wait(30) == -15


def test_record_round_trip(tmp_path: Path) -> None:
    """A saved record is read back unchanged, and no temporary file remains."""
    record = ServerRecord(4711, ("python", "-m", "pellucid", "serve", "ü"))
    record.save(tmp_path / "1.json")

    assert ServerRecord.load(tmp_path / "1.json") == record
    assert [path.name for path in tmp_path.iterdir()] == ["1.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"pid": 0, "command": ["a"]}',
        '{"pid": 1, "command": ["a"]}',
        '{"pid": -9, "command": ["a"]}',
        '{"pid": "7", "command": ["a"]}',
        '{"pid": 7, "command": []}',
        '{"pid": 7, "command": [1]}',
        '{"pid": 7, "command": 1}',
    ],
)
def test_what_is_no_record(tmp_path: Path, text: str) -> None:
    """A damaged record is ignored: no signal is sent to a process group or to process 1."""
    (tmp_path / "1.json").write_text(text)

    assert ServerRecord.load(tmp_path / "1.json") is None
    assert ServerRecord.load(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"a\npellucid: b.\n\n", "pellucid: b."),
        (b"x" * 20_000 + b"\nlast", "last"),
        (b"a\n\xff", "\ufffd"),
    ],
)
def test_last_line(tmp_path: Path, log: bytes, line: str) -> None:
    """The last non-blank line of a log of any length is found; a missing log gives ``""``."""
    (tmp_path / "log").write_bytes(log)

    assert last_line(tmp_path / "log") == line
    assert last_line(tmp_path / "none") == ""


def test_start_begins_the_log_anew(tmp_path: Path) -> None:
    """A server's output replaces the previous log, and the server runs in the given folder."""
    log = tmp_path / "log"
    log.write_text("old " * 1000)
    code = (
        "import os, sys; print(os.getcwd()); print(os.environ['WORD'], file=sys.stderr); "
        "print(sys.stdin.read(), end='')"
    )

    process = start((sys.executable, "-u", "-c", code), {"WORD": "word"}, tmp_path, log)

    assert process.wait(30) == 0
    assert log.read_text() == f"{tmp_path}\nword\n"


@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be replaced there")
def test_who_has_the_former_log_open_reads_nothing_of_the_new_one(tmp_path: Path) -> None:
    """A readable log is replaced, as a reader may keep the file open; links are not followed."""
    log, other = tmp_path / "log", tmp_path / "other"
    log.write_text("former")
    with log.open() as held:
        assert start((sys.executable, "-c", "print('word')"), dict(os.environ), tmp_path, log).wait(30) == 0
        assert (held.read(), log.read_text()) == ("former", "word\n")
    log.unlink()
    other.write_text("theirs")
    log.symlink_to(other)
    assert start((sys.executable, "-c", "print('word')"), dict(os.environ), tmp_path, log).wait(30) == 0
    assert (other.read_text(), log.read_text()) == ("theirs", "word\n")
