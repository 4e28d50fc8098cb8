"""Commands read a sample of a large folder, show the progress, and end at once on Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid.learn import corpus
from pellucid.learn.corpus import CorpusBudget
from pellucid.system.regular_files import read_bytes

Run = Callable[..., tuple[int, str, str]]

COMMANDS: dict[str, Callable[[Path], list[str | Path]]] = {
    "finetune": lambda folder: ["finetune", folder / "src", "--name", "mine", "--model", "./no-model.gguf"],
    "calibrate": lambda folder: ["calibrate", folder / "src", "--model", "./no-model.gguf"],
    "train": lambda folder: ["train", folder / "src", "--out", folder / "run"],
    "evaluate": lambda folder: [
        *("evaluate", "./no-model.gguf", "--suite", "perplexity", "--text", folder / "src", "--out", folder / "out"),
    ],
}
FILES = 120


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with different source files."""
    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    (tmp_path / "src").mkdir()
    for number in range(FILES):
        lines = (
            f"value_{number}_{line} = compute_{number * 31 + line}(first_{line}, second_{number})\n"
            for line in range(20)
        )
        (tmp_path / "src" / f"file{number:03}.py").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read: list[Path] = []
    whole = read_bytes

    def counting(path: Path, largest: int) -> bytes:
        read.append(path)
        return whole(path, largest)

    monkeypatch.setattr(corpus, "read_bytes", counting)
    return read


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_while_files_are_read(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """No file is read after Ctrl-C, and the command exits with 130."""
    reads: list[Path] = []

    def pressed(path: Path, largest: int) -> bytes:
        if len(reads) == 5:
            raise KeyboardInterrupt
        reads.append(path)
        return read_bytes(path, largest)

    monkeypatch.setattr(corpus, "read_bytes", pressed)
    code, out, err = run(*COMMANDS[command](folder))
    assert (code, out, len(reads)) == (130, "", 5)
    assert "looking for files\n" in err
    assert f"reading files ({FILES} steps)\n" in err
    assert err.endswith("Interrupted: repeat the command to resume.\n")


BUDGETS = {
    "finetune": "pellucid.learn.finetune.repository_files.FILES",
    "calibrate": "pellucid.learn.calibrate.command.FILES",
}


@pytest.mark.parametrize("command", BUDGETS)
def test_a_sample(run: Run, folder: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Only the budgeted files are read, before the model is loaded, and each step is announced."""
    monkeypatch.setattr(BUDGETS[command], CorpusBudget(30, 10_000_000))
    code, _, err = run(*COMMANDS[command](folder))
    assert code == 1
    assert len(reads) == 30
    assert "looking for files\n" in err
    assert "reading files (30 steps)\n" in err
    assert "comparing files (30 steps)\n" in err
    assert err.endswith("pellucid: ./no-model.gguf does not exist.\n")
    if command == "calibrate":  # `finetune` lists the skipped files with the estimate.
        assert f"skipped: 90 of {FILES} beyond a sample of 30 files or 10.0 MB\n" in err
