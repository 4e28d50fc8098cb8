"""On a full or read-only disk, every write fails in a single sentence and keeps existing data."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pellucid.errors import PellucidError
from support import every_disk_write
from support.every_disk_write import Write
from support.models.stand_in_hub import StandInHub, serve
from support.servers.small_disks import FILLER, SmallDisk, can_mount, small_disk

pytestmark = pytest.mark.skipif(
    not can_mount(), reason="it takes root, mount, umount and unshare to mount a small disk"
)

WRITERS: list[Write] = [
    *(every_disk_write.conversations, every_disk_write.sessions, every_disk_write.review, every_disk_write.judgement),
    *(every_disk_write.suggestion_log, every_disk_write.log_export, every_disk_write.packed_weights),
    *(every_disk_write.prefixes, every_disk_write.pull, every_disk_write.calibration),
    *(every_disk_write.replay_records, every_disk_write.evaluation_records, every_disk_write.evaluation_report),
    *(every_disk_write.bench_plot, every_disk_write.training_curves, every_disk_write.merged_folder),
    *(every_disk_write.merged_file, every_disk_write.switch, every_disk_write.server_record),
]

ROOMS = [0, *(1 << power for power in range(12, 23))]
"""Free bytes: a write fails at the first step, and with more room at a later step."""

TABLES = {"conversation", "node", "session", "suggestions"}
"""The tables of the databases, without indexes."""

PASSING = re.compile(r"\.lock$|-wal$|-shm$|-journal$|\.part$")
"""Files without content to keep."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on this machine with a model, in the role of the hub of the settings."""
    files = {"tiny.gguf": bytes(range(256)) * 400}
    with serve(StandInHub("org/tiny", files)) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield


def contents(folder: Path) -> dict[str, set[object]]:
    """Return rows of databases, lines of records and bytes of files, without temporary files."""
    files = [
        path for path in folder.rglob("*") if path.is_file() and path.name != FILLER and not PASSING.search(path.name)
    ]
    return {str(path.relative_to(folder)): content(path) for path in files}


def content(path: Path) -> set[object]:
    """Return the content of a file, in parts to keep."""
    data = path.read_bytes()
    if path.suffix == ".jsonl":
        return set(data.splitlines())
    if not data.startswith(b"SQLite format 3"):
        return {data}
    with TemporaryDirectory() as elsewhere:  # SQLite needs room to read the database.
        for file in path.parent.glob(f"{path.name}*"):
            shutil.copy(file, elsewhere)
        return _rows(Path(elsewhere) / path.name)


def _rows(path: Path) -> set[object]:
    with closing(sqlite3.connect(path)) as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name in TABLES
        ]
        return {(name, *row) for name in tables for row in database.execute(f"SELECT * FROM {name}")}


def require_kept(before: dict[str, set[object]], folder: Path) -> None:
    """Fail if any content is missing."""
    after = contents(folder)
    for name, parts in before.items():
        assert parts <= after.get(name, set()), name


def refusal(write: Write, folder: Path) -> str | None:
    """Write the second item; return the message of the error, if any."""
    try:
        write(folder, 1)
    except PellucidError as error:
        return str(error)
    return None


def require_sentence(sentence: str, folder: Path) -> None:
    """Fail unless the sentence has the place, the reason and the remedy."""
    assert re.fullmatch(r"[^\n]+: [^\n]+\.", sentence), sentence
    assert str(folder) in sentence
    assert "Traceback" not in sentence


@pytest.mark.process
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_full(write: Write, disk: SmallDisk) -> None:
    """On a full disk a write fails in a sentence and keeps existing data, and later succeeds."""
    write(disk.folder, 0)
    before = contents(disk.folder)
    for room in ROOMS:
        disk.fill(room)
        sentence = refusal(write, disk.folder)
        if sentence is None:
            break
        require_sentence(sentence, disk.folder)
        assert re.search("full|No space left| are needed", sentence), sentence
        require_kept(before, disk.folder)
        assert not sentence or room < ROOMS[-1]
        disk.repair()
    assert room


@pytest.mark.process
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_read_only(write: Write, disk: SmallDisk) -> None:
    """On a read-only disk a write fails in a sentence, keeps existing data, and later succeeds."""
    write(disk.folder, 0)
    before = contents(disk.folder)
    disk.make_read_only()

    sentence = refusal(write, disk.folder)

    assert sentence is not None
    require_sentence(sentence, disk.folder)
    assert re.search("[Rr]ead-only|readonly|unable to open", sentence), sentence
    assert contents(disk.folder) == before
    disk.repair()
    write(disk.folder, 1)
