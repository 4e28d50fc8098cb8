"""Every command reads only regular files of a bounded size, and explains each refusal."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.benchmark_files import LARGEST_BYTES, json_lines
from pellucid.system import regular_files

Run = Callable[..., tuple[int, str, str]]
Command = Callable[[Path, Path], list[str | Path]]

LIMIT_SECONDS = 60
"""A command with a longer wait waits for ever."""

LIMIT_BYTES = 2 << 30
"""A command that reads a device to the end fails at this limit, before the machine fails."""

MODEL = "./no-model.gguf"

COMMANDS: dict[str, Command] = {
    "complete": lambda file, folder: ["complete", file, "--model", MODEL],
    "edit": lambda file, folder: ["edit", file, "Add a comment.", "--model", MODEL],
    "score": lambda file, folder: ["score", file, "--model", MODEL],
    "complete --json-schema": lambda file, folder: [
        *("complete", folder / "text.py", "--json-schema", file, "--model", MODEL),
    ],
    "chat --json-schema": lambda file, folder: ["chat", "Hello", "--json-schema", file, "--model", MODEL],
    "chat --image": lambda file, folder: ["chat", "Hello", "--image", file, "--model", MODEL],
    "bench --compare": lambda file, folder: ["bench", "--compare", file, "--model", MODEL],
    "review --prompts": lambda file, folder: [
        *("review", "r", "--prompts", file, "--model", MODEL, "--model", MODEL, "--temperature", "1"),
    ],
    "train": lambda file, folder: ["train", file, "--out", folder / "run"],
    "evaluate --text": lambda file, folder: [
        *("evaluate", MODEL, "--suite", "perplexity", "--text", file, "--out", folder / "out"),
    ],
    "evaluate --references": lambda file, folder: [
        *("evaluate", MODEL, "--suite", "text", "--references", file, "--out", folder / "out"),
    ],
    "serve --api-key-file": lambda file, folder: ["serve", "--api-key-file", file, "--model", MODEL],
    "webui --api-key-file": lambda file, folder: ["webui", "--api-key-file", file],
    "engines add": lambda file, folder: ["engines", "add", "http://127.0.0.1:9"],
    "engines remove": lambda file, folder: ["engines", "remove", "http://127.0.0.1:9"],
    "the settings file": lambda file, folder: ["score", folder / "text.py", "--model", MODEL],
    "complete --model": lambda file, folder: ["complete", folder / "text.py", "--model", file],
}
"""The command line for the tried file and a folder with a text."""

PLACES = {"engines add": "engines.txt", "engines remove": "engines.txt", "the settings file": "config.toml"}
"""The names of files read from the settings."""

SAID = {
    "/dev/zero": "is a device, but only regular files are read",
    "pipe": "is a pipe, but only regular files are read",
    "socket": "is a socket, but only regular files are read",
    "too large": " bytes, but at most ",
    "folder": "",
    "not text": "",
}
"""A part of the message for each tried file.

Some commands walk a folder, and a file in another encoding has several messages.
"""


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """End a waiting test and a test with too much memory."""

    def late(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"The command still waits after {LIMIT_SECONDS} s.")

    used = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmData")
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    former = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_SECONDS)
    resource.setrlimit(resource.RLIMIT_DATA, (used + LIMIT_BYTES, hard))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the paths of the test, and a port without a server."""
    monkeypatch.setattr("pellucid.config.config_file", lambda: tmp_path / "config.toml")
    monkeypatch.setenv("PELLUCID_ENGINES_FILE", str(tmp_path / "engines.txt"))
    monkeypatch.setenv("PELLUCID_PORT", "9")
    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "data"))
    (tmp_path / "text.py").write_text("x = 1\n")


def placed(kind: str, path: Path) -> Path:
    """Put a file of a kind at a path; return the path."""
    match kind:
        case "/dev/zero":
            path.symlink_to("/dev/zero")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        case "too large":
            with path.open("wb") as file:
                file.truncate(40 << 30)
        case _:
            path.write_bytes(b"caf\xe9\n" * 4_000)
    path.chmod(0o600) if kind in ("pipe", "too large", "not text") else None
    return path


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("command", "kind"),
    [
        *((command, kind) for command in COMMANDS for kind in ("/dev/zero", "too large")),
        *(("score", kind) for kind in SAID if kind not in ("/dev/zero", "too large")),
        ("chat --image", "folder"),
    ],
)
def test_what_is_no_file_of_text(run: Run, tmp_path: Path, command: str, kind: str) -> None:
    """A special, large or wrongly encoded file or a folder is refused with a name and a remedy."""
    path = placed(kind, tmp_path / PLACES.get(command, "it.txt"))
    code, out, err = run(*COMMANDS[command](path, tmp_path))
    assert code in (1, 2)
    assert out == ""
    assert str(path) in err
    if command == "complete --model":  # A model is a file or a folder, with messages for each.
        return
    assert SAID[kind] in err or kind in ("folder", "not text")
    assert any(word in err for word in ("name", "give", "convert", "is a directory", "download", "printable")), err


TEXTS = {
    "bench --compare": "{}",
    "evaluate --references": '{"prompt": "a", "reference": "b"}\n',
    "engines add": "http://127.0.0.1:9\n",
    "engines remove": "http://127.0.0.1:9\n",
    "the settings file": "port = 9\n",
    "serve --api-key-file": "sk-1234567890\n",
    "complete --json-schema": "{}",
    "chat --json-schema": "{}",
}


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    "command", [name for name in COMMANDS if name not in ("complete --model", "train", "webui --api-key-file")]
)
def test_a_good_file(run: Run, tmp_path: Path, command: str) -> None:
    """A regular file passes: only the model is missing."""
    path = tmp_path / PLACES.get(command, "it.txt")
    path.write_text(TEXTS.get(command, "A text in a file.\n"))
    path.chmod(0o600)
    code, out, err = run(*COMMANDS[command](path, tmp_path))
    if command.startswith("engines"):
        assert code == 0
        assert str(path) in out
    elif command == "bench --compare":
        assert (
            err
            == f"pellucid: {path} is not a result of pellucid bench: give a file that pellucid bench --json wrote.\n"
        )
    else:
        assert code == 1
        assert "no-model.gguf does not exist" in err
        assert str(path) not in err


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("command", ["complete", "score"])
def test_standard_input(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """A reading command takes - for bounded standard input, and recommends - for a pipe."""
    os.mkfifo(tmp_path / "pipe")
    assert "give - for the file, and the text on standard input" in run(command, tmp_path / "pipe")[2]
    for given, said in [
        (b"x = 1", "no-model.gguf does not exist"),
        (b"\xff", "The standard input is not UTF-8 text (byte 0)"),
    ]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert said in run(command, "-", "--model", MODEL)[2]
    with Path("/dev/zero").open("rb") as endless:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(endless))
        assert "The standard input has more than 16.8 MB" in run(command, "-", "--model", MODEL)[2]


@pytest.mark.usefixtures("settings")
def test_edit_writes_and_so_takes_no_standard_input(run: Run, tmp_path: Path) -> None:
    """`edit` refuses - as a file, and recommends a regular file for a pipe."""
    assert run("edit", "-", "Add a comment.")[0] == 2
    os.mkfifo(tmp_path / "pipe")
    assert (
        "is a pipe, but only regular files are read: write its content to a file"
        in run("edit", tmp_path / "pipe", "Add.")[2]
    )


def test_a_file_that_is_swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file replaced by a pipe or device after the check is refused without a wait."""
    good, pipe = tmp_path / "good", tmp_path / "pipe"
    good.write_text("text")
    os.mkfifo(pipe)
    looked = good.stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: looked)
    for swapped, kind in [(pipe, "pipe"), (Path("/dev/zero"), "device")]:
        with pytest.raises(InvalidRequestError, match=f"is a {kind}, but only regular files are read"):
            regular_files.read_bytes(swapped)


def test_a_file_that_says_it_is_empty(tmp_path: Path) -> None:
    """A file of unknown size, as in /proc, is read up to the limit."""
    assert b"VmRSS" in regular_files.read_bytes(Path("/proc/self/status"))
    with pytest.raises(InvalidRequestError, match="but at most 100 are read"):
        regular_files.read_bytes(Path("/proc/self/status"), 100)


def test_a_compressed_file_that_holds_too_much(tmp_path: Path) -> None:
    """A small compressed file with too much text is refused before the memory is full."""
    path = tmp_path / "HumanEval.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as packed:
        for _ in range(LARGEST_BYTES // (1 << 20) + 1):
            packed.write(b"\n" * (1 << 20))
    assert path.stat().st_size < LARGEST_BYTES // 50
    with pytest.raises(InvalidRequestError, match=r"has more than 268 MB of text: name a smaller file\."):
        json_lines(path, ())


def test_json_of_a_good_file(tmp_path: Path) -> None:
    """A compressed file and a plain file give the same records."""
    record = {"prompt": "a"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(record).encode()))
    assert json_lines(tmp_path / "a.jsonl", ("prompt",)) == json_lines(tmp_path / "a.jsonl.gz", ("prompt",)) == [record]
