"""Tests of pellucid train: a table and three model folders from a text."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pellucid.learn import checkpoint_file
from pellucid.learn.train import command, gpt_trainer, train_learners
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
    monkeypatch.setenv("PELLUCID_QUANT", "none")  # Nothing is compiled.
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def arguments(folder: Path) -> list[str]:
    """Return the command that trains on the texts of a folder, into a folder among the texts."""
    return ["train", str(folder), "--out", str(folder / "run"), "--seed", "7"]


def weights_and_figures(run: Path) -> tuple[dict[str, torch.Tensor], list[tuple[float, float]]]:
    rows = json.loads((run / "results.json").read_text())["learners"]
    figures = [(row["bits_per_byte"], row["calibration_error"]) for row in rows]
    return load_file(run / "gpt" / "model.safetensors"), figures


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def kill(folder: Path, step: int) -> None:
    """Train in another process until SIGKILL after a step."""
    script = [sys.executable, killed_training.__file__, str(step), *arguments(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    dead = subprocess.run(script, env=environment, capture_output=True, timeout=300)
    assert dead.returncode == -signal.SIGKILL, (step, dead.stderr.decode())


@pytest.mark.process
def test_from_a_text_to_three_models(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table compares three usable models on the same bytes, whatever interrupts the training."""
    whole = tmp_path / "whole"
    whole.mkdir()
    text_file(whole)
    code, stdout, _ = run(*arguments(whole), "--json")
    assert code == 0
    rows = check_results(whole / "run", stdout)

    # The run is not among the texts that it reads, so the same command repeats the table.
    code, again, _ = run(*arguments(whole))
    assert code == 0
    assert f"{rows['gpt']['bits_per_byte']:.3f}" in again
    assert "no counter" in again or " J" in again

    # Other settings or texts are refused.
    code, _, err = run("train", whole, "--out", whole / "run", "--seed", 1)
    assert code == 1
    assert err.endswith(
        f"\npellucid: {whole / 'run'} was started with --seed 7, not with --seed 1: "
        "use the same options, or name another folder with --out.\n"
    )
    (whole / "more.txt").write_text("One more line.\n")
    code, _, err = run(*arguments(whole))
    assert code == 1
    assert "was started with other text" in err

    # Each folder is a model that other commands read.
    sample = tmp_path / "sample.txt"
    sample.write_text("The king says that no man\n", encoding="utf-8")
    for name in rows:
        code, stdout, _ = run("score", sample, "--model", whole / "run" / name, "--json")
        *records, finish = [json.loads(line) for line in stdout.splitlines()]
        assert (code, finish["finish"]["reason"]) == (0, "stop")
        assert bytes(byte for record in records[1:] for byte in record["bytes"]) == sample.read_bytes()
        assert all(record["logprob"] < 0 for record in records[1:])

    check_interruptions(tmp_path / "broken", run, monkeypatch, whole / "run")


def check_results(out: Path, stdout: str) -> dict[str, Any]:
    """Check the results of a whole run, and return the row of each model."""
    results = json.loads(stdout)
    assert (out / "results.json").read_text() == stdout
    rows = {row["name"]: row for row in results["learners"]}
    assert set(rows) == {"gpt", "ngram", "logistic"}
    for row in (rows["ngram"], rows["logistic"]):  # A token of these models is a byte.
        assert row["tokens"] == round(row["tokens"] * row["bits_per_byte"] / math.log2(row["perplexity"]))
    assert rows["ngram"]["tokens"] == rows["logistic"]["tokens"] > rows["gpt"]["tokens"]
    for row in rows.values():
        assert 0.3 < row["bits_per_byte"] < 7
        assert 0 < row["top1"] < row["top5"] <= 1
        assert 0 <= row["calibration_error"] < 1
        assert row["seconds"] > 0
        assert row["disk_bytes"] > row["parameters"] / 2
    assert rows["gpt"]["flops"] == 6 * rows["gpt"]["parameters"] * 40 * 4 * 64
    assert rows["ngram"]["flops"] is None
    assert any("only bits/byte is comparable" in note for note in results["notes"])
    for name in ("ngram", "logistic"):
        assert sum(f"the {name}" in note and "resampling blocks" in note for note in results["notes"]) == 1
    assert (out / "curves.svg").read_text().startswith("<svg")
    assert not (out / "checkpoint.safetensors").exists()
    return rows


def check_interruptions(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, whole: Path) -> None:
    """Interrupt a run by Ctrl-C, kill -9 and a full disk, and compare with the whole run."""
    folder.mkdir()
    text_file(folder)
    command, out = arguments(folder), folder / "run"

    with monkeypatch.context() as pressed:
        pressed.setattr("sklearn.neural_network._multilayer_perceptron.gen_batches", interrupted)
        code, stdout, err = run(*command)
    assert (code, stdout) == (130, "")
    assert err.endswith("Interrupted: repeat the command to resume.\n")
    assert (out / "ngram").exists()
    assert not (out / "logistic").exists()

    steps = sorted(random.Random(13).sample(range(1, 30), 5)) if IS_TRIAL else [23]
    for step in steps:
        kill(folder, step)

    written: list[Path] = []

    def fails_in_time(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        if len(written) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(tensors, path, metadata)
        written.append(path)

    with monkeypatch.context() as full:
        full.setattr(gpt_trainer, "CHECKPOINT_SECONDS", 0.0)
        full.setattr(checkpoint_file, "save_file", fails_in_time)
        code, _, err = run(*command)
    assert code == 1
    assert f"Resuming from step {steps[-1] - 1} of 40" in err
    assert f"pellucid: The disk of {out} is full: free some space" in err

    code, _, err = run(*command)
    assert code == 0, err
    assert f"Resuming from step {steps[-1] + 4} of 40" in err
    (found, figures), (weights, expected) = weights_and_figures(out), weights_and_figures(whole)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[key], weights[key]) for key in weights)
    assert figures == expected


def test_minutes_are_measured(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit sets the steps by measurements before and during training, up to --steps."""
    monkeypatch.setattr(train_learners, "measure", lambda trainer, seconds: 0.1)
    monkeypatch.setattr(time, "perf_counter", itertools.count(step=0.05).__next__)
    text = text_file(tmp_path, size=10_000)
    assert run("train", text, "--out", tmp_path / "bounded", "--max-minutes", "1", "--steps", 12)[0] == 0
    assert _stretches(tmp_path / "bounded")[-1]["steps"] == 12
    monkeypatch.setattr(command, "SHORT_SHARE", 1.0)
    code, stdout, _ = run("train", text, "--out", tmp_path / "short", "--max-minutes", "0.1")
    assert code == 0
    assert "left for the GPT, because the baselines need time too" in " ".join(stdout.split())
    first, *later = _stretches(tmp_path / "short")
    assert 10 <= first["steps"] <= 60
    assert later


def _stretches(folder: Path) -> list[dict[str, int]]:
    found: list[dict[str, int]] = json.loads((folder / "plan.json").read_text())["schedule"]["stretches"]
    return found


def binary(folder: Path) -> None:
    (folder / "data.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "latin.txt").write_bytes("naïve\n".encode("latin-1") * 1000)


def written(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "one.txt").write_text(text)


NONE = "There is no text in {folder}{why}: name a file or a folder that contains some."


@pytest.mark.parametrize(
    ("fill", "options", "sentence"),
    [
        pytest.param(lambda folder: None, "", NONE.replace("{why}", ""), id="empty"),
        pytest.param(binary, "", NONE.replace("{why}", " (1 not in UTF-8, 1 not text)"), id="binary"),
        pytest.param(
            written("a"),
            "",
            "There are 1 bytes of text, too little to train and test on: give 10,000 or more.",
            id="one byte",
        ),
        pytest.param(
            written("word " * 4000),
            "",
            "The text is one long line, which cannot be split at line breaks: break it into lines.",
            id="one line",
        ),
        pytest.param(text_file, "--vocab 9000", "The text yields at most ", id="large vocabulary"),
        pytest.param(
            text_file,
            "--tokenizer bytes --vocab 512",
            "--vocab 512 is for bpe and unigram, but bytes always has 257",
            id="vocabulary of bytes",
        ),
        pytest.param(text_file, "--preset gpu", "The gpu preset needs a CUDA device", id="no GPU"),
    ],
)
def test_what_cannot_be_trained(
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    fill: Callable[[Path], object],
    options: str,
    sentence: str,
) -> None:
    """Each problem is one sentence with a remedy, and no model is written."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = tmp_path / "texts"
    folder.mkdir()
    fill(folder)

    code, out, err = run("train", folder, "--out", tmp_path / "run", *options.split())

    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("pellucid: " + sentence.format(folder=folder))
    assert not list(tmp_path.glob("run/*/model.safetensors"))


def test_missing_text_and_a_folder_of_something_else(tmp_path: Path, run: Run) -> None:
    """A missing path is named, and a folder with foreign content is left alone."""
    missing = run("train", tmp_path / "gone", "--out", tmp_path / "run")[2]
    assert missing.endswith("gone does not exist: name a file or a folder of text.\n")
    code, _, err = run("train", text_file(tmp_path), "--out", tmp_path)
    assert code == 1
    assert f"{tmp_path} contains something other than a training run (words.txt)" in err.splitlines()[-1]
