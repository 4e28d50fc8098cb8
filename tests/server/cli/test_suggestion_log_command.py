"""Three commands show, export and delete the log of suggestions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.completion.trust.features import NAMES
from pellucid.completion.trust.suggestion_log import FILE, LogEntry, Reaction, SuggestionLog

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def log(tmp_path: Path) -> SuggestionLog:
    log = SuggestionLog(tmp_path / "data" / FILE)
    for number in range(3):
        log.write(
            LogEntry(
                f"s-{number}",
                "m",
                "python",
                None,
                "hand",
                Reaction.ACCEPTED,
                9,
                9,
                tuple(0.5 for _ in NAMES),
                None,
                (0.25, 1.0),
            )
        )
    return log


def test_export(run: Run, log: SuggestionLog, tmp_path: Path) -> None:
    """Every logged suggestion has a line in the exported file."""
    file = tmp_path / "all.jsonl"

    code, out, _ = run("suggestions", "export", file, "--data", log.path.parent)

    assert (code, out) == (0, f"Wrote 3 suggestions to {file}.\n")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["s-0", "s-1", "s-2"]
    assert {row["outcome"] for row in rows} == {"accepted"}


def test_show(run: Run, log: SuggestionLog) -> None:
    """Each model has a row with its reactions and the accepted characters of a suggestion."""
    entry = log.entries("m")[0]
    log.write(replace(entry, id="a-1", model="m:mine", outcome=Reaction.SHORTENED, accepted=4))
    log.write(replace(entry, id="a-2", model="m:mine", outcome=Reaction.DISMISSED, accepted=0))

    code, out, _ = run("suggestions", "show", "--data", log.path.parent)

    assert code == 0
    rows = [line.strip("│").split("│") for line in out.splitlines() if "│" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["m", "3", "3", "0", "0", "27", "9.0 ± 0.0"],
        ["m:mine", "2", "0", "1", "1", "4", "2.0 ± 3.9"],
    ]


def test_delete(run: Run, log: SuggestionLog) -> None:
    """`delete` removes every entry, and afterwards reports an empty log."""
    assert run("suggestions", "delete", "--data", log.path.parent)[:2] == (0, "Deleted 3 suggestions.\n")
    assert not log.path.exists()
    assert run("suggestions", "delete", "--data", log.path.parent)[:2] == (0, "The log is empty.\n")


def test_nothing_to_export(run: Run, tmp_path: Path) -> None:
    """Without a log, the error names the setting to turn the log on."""
    code, _, err = run("suggestions", "export", tmp_path / "all.jsonl", "--data", tmp_path)

    assert code == 1
    assert "editors write one if pellucid.completion.log is on" in err


def test_not_writable(run: Run, log: SuggestionLog, tmp_path: Path) -> None:
    """An unwritable file is reported in a single sentence."""
    code, _, err = run("suggestions", "export", tmp_path, "--data", log.path.parent)

    assert code == 1
    assert f"The log cannot be written to {tmp_path}: Is a directory." in err


def test_foreign_file(run: Run, tmp_path: Path) -> None:
    """A file other than a suggestion log is not deleted."""
    (tmp_path / FILE).write_text("diary" * 1000)

    code, _, err = run("suggestions", "delete", "--data", tmp_path)

    assert code == 1
    assert "cannot be used" in err
    assert (tmp_path / FILE).exists()
