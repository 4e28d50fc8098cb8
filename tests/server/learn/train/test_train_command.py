"""Tests of pellucid train: a table and three model folders from a text."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pellucid.learn.train import checkpoint, command, gpt_trainer, train_learners
from pellucid.learn.train.plan import PRESETS
from support.learn import killed_training
from support.learn.tiny_preset import TINY
from support.learn.training_texts import text_file
from support.trial_counts import IS_TRIAL

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use a preset of a second of training and the test's own cache, and restore threads."""
    monkeypatch.setitem(PRESETS, "cpu", TINY)
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_from_a_text_to_three_models(tmp_path: Path, run: Run) -> None:
    """A table compares three usable models on the same bytes; a second call repeats the table."""
    text, out = text_file(tmp_path), tmp_path / "run"

    code, stdout, _ = run("train", text, "--out", out, "--json")

    assert code == 0
    results = json.loads(stdout)
    assert (out / "results.json").read_text() == stdout
    rows = {row["name"]: row for row in results["learners"]}
    assert set(rows) == {"gpt", "ngram", "logistic"}
    bytes_read = {round(row["tokens"] * row["bits_per_byte"] / _bits(row)) for row in (rows["ngram"], rows["logistic"])}
    assert len(bytes_read) == 1
    assert rows["ngram"]["tokens"] == rows["logistic"]["tokens"] == bytes_read.pop() > rows["gpt"]["tokens"]
    for row in rows.values():
        assert 0.3 < row["bits_per_byte"] < 7
        assert 0 < row["top1"] < row["top5"] <= 1
        assert 0 <= row["calibration_error"] < 1
        assert row["seconds"] > 0
        assert row["disk_bytes"] > row["parameters"] / 2
    assert rows["gpt"]["flops"] == 6 * rows["gpt"]["parameters"] * 40 * 4 * 64
    assert rows["ngram"]["flops"] is None
    assert any("only bits/byte is comparable" in note for note in results["notes"])
    assert [
        name
        for name in ("ngram", "logistic")
        for note in results["notes"]
        if f"the {name}" in note and "resampling blocks" in note
    ] == [
        "ngram",
        "logistic",
    ]
    assert (out / "curves.svg").read_text().startswith("<svg")
    assert not (out / "checkpoint.safetensors").exists()

    code, again, _ = run("train", text, "--out", out)
    assert code == 0
    assert f"{rows['gpt']['bits_per_byte']:.3f}" in again
    assert "no counter" in again or " J" in again

    sample = tmp_path / "sample.txt"
    sample.write_text("The king says that no man\n", encoding="utf-8")
    for name in rows:
        code, stdout, _ = run("score", sample, "--model", out / name, "--json")
        *records, finish = [json.loads(line) for line in stdout.splitlines()]
        assert (code, finish["finish"]["reason"]) == (0, "stop")
        assert bytes(byte for record in records[1:] for byte in record["bytes"]) == sample.read_bytes()
        assert all(record["logprob"] < 0 for record in records[1:])


def _bits(row: dict[str, Any]) -> float:
    from math import log2

    return float(log2(row["perplexity"]))


@pytest.mark.process
def test_killed_and_resumed(tmp_path: Path, run: Run) -> None:
    """After kill -9 at any step, the same command gives the figures of an undisturbed run."""
    dice, steps = random.Random(13), TINY.steps
    assert steps is not None
    text = text_file(tmp_path)
    kills = {"at the first step and after a checkpoint": [1, 23]}
    if IS_TRIAL:
        kills |= {str(number): sorted(dice.sample(range(1, steps + 1), 5)) for number in range(3)}

    def arguments(name: str) -> list[str]:
        return ["train", str(text), "--out", str(tmp_path / name), "--seed", "7"]

    def kill(name: str) -> None:
        for step in kills[name]:
            script = [sys.executable, killed_training.__file__, str(step), *arguments(name)]
            dead = subprocess.run(
                script, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, timeout=300
            )
            assert dead.returncode == -signal.SIGKILL, (step, dead.stderr.decode())

    def weights_and_figures(name: str) -> tuple[dict[str, torch.Tensor], list[tuple[float, float]]]:
        rows = json.loads((tmp_path / name / "results.json").read_text())["learners"]
        figures = [(row["bits_per_byte"], row["calibration_error"]) for row in rows]
        return load_file(tmp_path / name / "gpt" / "model.safetensors"), figures

    assert run(*arguments("whole"))[0] == 0
    whole, whole_figures = weights_and_figures("whole")
    with ThreadPoolExecutor() as threads:
        list(threads.map(kill, kills))
    for name in kills:
        code, _, err = run(*arguments(name))
        assert code == 0, err
        assert ("Resuming from step 22 of 40" in err) == (kills[name][-1] == 23), name
        found, figures = weights_and_figures(name)
        assert found.keys() == whole.keys()
        assert all(torch.equal(found[key], whole[key]) for key in whole), name
        assert figures == whole_figures, name


@pytest.mark.slow
def test_ctrl_c(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends training at once with the shell's exit code, and the same command resumes."""
    text, out = text_file(tmp_path), tmp_path / "run"

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as pressed:
        pressed.setattr("sklearn.neural_network._multilayer_perceptron.gen_batches", interrupted)
        code, stdout, err = run("train", text, "--out", out)
    assert (code, stdout) == (130, "")
    assert err.endswith("Interrupted: repeat the command to resume.\n")
    assert (out / "ngram").exists()
    assert not (out / "logistic").exists()
    assert run("train", text, "--out", out)[0] == 0


@pytest.mark.slow
def test_a_run_among_its_texts(tmp_path: Path, run: Run) -> None:
    """A run within the folder of its texts is not read, so the command can be repeated."""
    text_file(tmp_path)
    command = ("train", tmp_path, "--out", tmp_path / "run", "--steps", 3)
    assert run(*command)[0] == 0
    assert run(*command)[0] == 0


@pytest.mark.slow
def test_other_settings_are_refused(tmp_path: Path, run: Run) -> None:
    """A run is not resumed with a different seed or changed text."""
    text, out = text_file(tmp_path), tmp_path / "run"
    assert run("train", text, "--out", out, "--steps", 3)[0] == 0
    code, _, err = run("train", text, "--out", out, "--steps", 3, "--seed", 1)
    assert code == 1
    assert err.endswith(
        f"\npellucid: {out} was started with --seed 0, not with --seed 1: "
        "use the same options, or name another folder with --out.\n"
    )
    text.write_text(text.read_text() + "One more line.\n")
    code, _, err = run("train", text, "--out", out, "--steps", 3)
    assert code == 1
    assert "was started with other text" in err


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ends training with one sentence, and the command resumes from a checkpoint."""
    text, out = text_file(tmp_path), tmp_path / "run"
    written: list[Path] = []

    def fails_in_time(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        if len(written) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(tensors, path, metadata)
        written.append(path)

    with monkeypatch.context() as full:
        full.setattr(gpt_trainer, "CHECKPOINT_SECONDS", 0.0)
        full.setattr(checkpoint, "save_file", fails_in_time)
        code, _, err = run("train", text, "--out", out)
    assert code == 1
    assert f"pellucid: {out} cannot be written to (No space left on device): free some space" in err

    code, _, err = run("train", text, "--out", out)
    assert code == 0
    assert "Resuming from step 5 of 40" in err


@pytest.mark.slow
def test_minutes_are_measured(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit sets the steps by measurements before and during training, up to --steps."""
    monkeypatch.setattr(train_learners, "measure", lambda trainer, seconds: 0.1)
    monkeypatch.setattr(time, "perf_counter", itertools.count(step=0.05).__next__)
    text = text_file(tmp_path)
    assert run("train", text, "--out", tmp_path / "bounded", "--max-minutes", "1", "--steps", 12)[0] == 0
    assert _steps(tmp_path / "bounded") == 12
    monkeypatch.setattr(command, "SHORT_SHARE", 1.0)
    code, stdout, _ = run("train", text, "--out", tmp_path / "short", "--max-minutes", "0.1")
    assert code == 0
    assert "s, because the baselines need time too: use more --max-minutes." in " ".join(stdout.split())
    first, *later = json.loads((tmp_path / "short" / "plan.json").read_text())["schedule"]["stretches"]
    assert 10 <= first["steps"] <= 60
    assert later


def _steps(folder: Path) -> int:
    return int(json.loads((folder / "plan.json").read_text())["schedule"]["stretches"][-1]["steps"])


def binary(folder: Path) -> None:
    (folder / "data.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "latin.txt").write_bytes("naïve\n".encode("latin-1") * 1000)


def one_byte(folder: Path) -> None:
    (folder / "one.txt").write_text("a")


def one_line(folder: Path) -> None:
    (folder / "line.txt").write_text("word " * 4000)


@pytest.mark.parametrize(
    ("fill", "options", "sentence"),
    [
        (lambda folder: None, [], "There is no text in {folder}: name a file or a folder that contains some."),
        (
            binary,
            [],
            "There is no text in {folder} (1 not in UTF-8, 1 not text): name a file or a folder that contains some.",
        ),
        (one_byte, [], "There are 1 bytes of text, too little to train and test on: give 10,000 or more."),
        (one_line, [], "The text is one long line, which cannot be split at line breaks: break it into lines."),
        (text_file, ["--vocab", "100"], "--vocab 100 must be from 300 to 65,536; the bytes alone take 256."),
        (text_file, ["--vocab", "9000"], "The text yields at most "),
        (
            text_file,
            ["--tokenizer", "bytes", "--vocab", "512"],
            "--vocab 512 is for bpe and unigram, but bytes always has 257",
        ),
        (text_file, ["--preset", "gpu"], "The gpu preset needs a CUDA device"),
    ],
    ids=[
        "empty",
        "binary",
        "one byte",
        "one line",
        "small vocabulary",
        "large vocabulary",
        "vocabulary of bytes",
        "no GPU",
    ],
)
def test_what_cannot_be_trained(
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    fill: Callable[[Path], object],
    options: list[str],
    sentence: str,
) -> None:
    """Each problem is one sentence with a remedy, and no model is written."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = tmp_path / "texts"
    folder.mkdir()
    fill(folder)

    code, out, err = run("train", folder, "--out", tmp_path / "run", *options)

    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("pellucid: " + sentence.format(folder=folder))
    assert not list(tmp_path.glob("run/*/model.safetensors"))


def test_missing_text_and_a_folder_of_something_else(tmp_path: Path, run: Run) -> None:
    """A missing path is named, and a folder with foreign content is left alone."""
    assert run("train", tmp_path / "gone", "--out", tmp_path / "run")[2].endswith(
        "gone does not exist: name a file or a folder of text.\n"
    )
    text = text_file(tmp_path)
    code, _, err = run("train", text, "--out", tmp_path)
    assert code == 1
    sentence = (
        f"pellucid: {tmp_path} contains something other than a training run (words.txt): "
        "name another folder with --out."
    )
    assert err.splitlines()[-1] == sentence
