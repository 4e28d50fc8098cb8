"""Tests of pellucid finetune: cost, adapter, report, and errors of one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from pellucid.cli.app import app
from pellucid.errors import ModelError
from pellucid.learn import finetune
from pellucid.learn.finetune import forgetting_texts, pipeline
from pellucid.learn.finetune.held_out_evaluation import Effort
from pellucid.learn.finetune.pipeline import Pipeline
from pellucid.learn.finetune.training.checkpoint import FILE
from pellucid.learn.finetune.training.trainer import AdapterTrainer
from pellucid.models.store import Store
from support.learn import killed_finetuning
from support.models.tiny_models import random_ids, reference_logprobs

pytestmark = pytest.mark.slow

Tune = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def tune(
    repository: Path,
    model_folder: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Tune:
    """Run the command, by default on the small repository and the tiny model."""
    monkeypatch.setenv("PELLUCID_CACHE", str(cache))
    monkeypatch.setattr(pipeline, "CONTEXT_TOKENS", {"cpu": 96})
    monkeypatch.setattr(pipeline, "EFFORT", Effort(tokens=100, cursors=2, lines=2, window=64))
    monkeypatch.setattr(forgetting_texts, "_TOPICS", ("class", "for"))
    monkeypatch.setattr(forgetting_texts, "_MODULES", ("queue", "wave"))

    def run(
        *words: str, path: Path = repository, model: str = str(model_folder), name: str = "mine"
    ) -> tuple[int, str, str]:
        monkeypatch.setattr(
            sys,
            "argv",
            ["pellucid", "finetune", str(path), "--name", name, "--model", model, "--device", "cpu", *words],
        )
        with pytest.raises(SystemExit) as left:
            app()
        return int(left.value.code or 0), *capfd.readouterr()

    return run


def test_dry_run_estimates_and_writes_nothing(tune: Tune, cache: Path) -> None:
    """Counts, steps, times and memory are estimated, and not even a folder is created."""
    code, out, _ = tune("--dry-run", "--json")
    found = json.loads(out)

    assert code == 0
    assert not cache.exists()
    assert (found["data"]["train_files"], found["data"]["validation_files"], found["data"]["test_files"]) == (14, 2, 4)
    assert found["steps"] == 3 * -(-found["samples"] // 4)
    assert found["total"] == pytest.approx(found["training"] + found["judging"])
    assert found["seconds_per_step"] > 0
    assert found["memory"] > 50e6

    code, out, _ = tune("--dry-run", "--steps", "5")
    assert code == 0
    assert "14 for training, 2 for early stopping, 4 for the test" in out
    assert "No adapter was made." in out
    assert not cache.exists()


@pytest.mark.process
@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"
)  # The library peft uses an attribute that transformers has renamed.
def test_from_a_kill_to_an_adapter(
    tune: Tune,
    cache: Path,
    repository: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A killed command resumes, and stores an adapter that peft reads, with value and origin."""
    kill_after_a_checkpoint(cache, repository, model_folder)

    # The same command resumes from the checkpoint, and keeps its figures if it cannot publish.
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "_publish", full_disk)
        code, _, err = tune("--steps", "6")
    assert "Resuming an interrupted run after step" in err
    assert (code, "evaluation before" in err, "evaluation after" in err) == (1, False, True)
    code, out, err = tune("--steps", "6", "--json")
    assert code == 0, err
    assert "judging" not in err
    assert not (Store(cache).finetuning / "mine").exists()
    folder = Store(cache).adapters / "mine"
    check_card(folder, json.loads(out), model_folder)

    plain = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    ids = random_ids(30)
    before = reference_logprobs(plain, ids)
    tuned: Any = PeftModel.from_pretrained(plain, folder)
    assert (reference_logprobs(tuned, ids) - before).abs().max() > 0.01
    capfd.readouterr()  # Discard the library's own bars.

    # Only --replace replaces the adapter.
    code, out, err = tune("--steps", "6")
    assert (code, out) == (1, "")
    assert err == "pellucid: The adapter mine already exists: use another name, or replace it with --replace.\n"
    code, out, err = tune("--steps", "2", "--replace")
    assert code == 0, err
    assert "held-out files" in out
    assert json.loads((folder / "pellucid.json").read_text())["training"]["steps"] == 2
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def kill_after_a_checkpoint(cache: Path, repository: Path, model_folder: Path) -> None:
    words = f"finetune {repository} --name mine --model {model_folder} --device cpu --steps 6".split()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, killed_finetuning.__file__, *words],
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    checkpoint = Store(cache).finetuning / "mine" / FILE
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()


def full_disk(pipeline: Pipeline, card: Mapping[str, Any]) -> Path:
    raise ModelError("The disk is full.")


def check_card(folder: Path, record: dict[str, Any], model_folder: Path) -> None:
    """Check the files of an adapter, and the figures and the origin that the files state."""
    card = json.loads((folder / "pellucid.json").read_text())
    files = ["adapter_config.json", "adapter_model.safetensors", "pellucid.json"]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert {**card, "folder": str(folder), "peak_memory": record["peak_memory"]} == record
    assert (card["base"], card["name"], card["prefix_only"]) == (str(model_folder), "mine", False)
    assert card["data"]["train_files"] == 14
    assert 0 < card["training"]["best_step"] <= card["training"]["steps"] <= 6
    assert [row["name"] for row in card["results"]] == [
        "bits per byte",
        "lines completed exactly",
        "edit similarity of these lines",
        "keystrokes saved",
        "calibration error",
        "bits per byte, English prose",
        "bits per byte, other code",
    ]


@pytest.mark.parametrize("name", ["a/b", "..", "", "a.", "x" * 65, "a b", "M:n", "-x"])
def test_names_that_are_none(tune: Tune, cache: Path, name: str) -> None:
    """A name that is not a valid file name, or would be a path, is rejected first."""
    code, out, err = tune(f"--name={name}")

    assert (code, out) == (1, "")
    assert (
        err == f"pellucid: {name!r} is not a valid adapter name: "
        "use up to 64 letters, digits, hyphens, dots and underscores.\n"
    )
    assert not cache.exists()


def test_wrong_input_is_one_sentence(tune: Tune, tmp_path: Path) -> None:
    """Missing, empty and unusable input is rejected in one sentence."""
    (tmp_path / "empty").mkdir()

    assert "/nowhere does not exist" in tune(path=Path("/nowhere"))[2]
    assert "There is no text in" in tune(path=tmp_path / "empty")[2]
    assert "There is no model 'smollm3'" in tune(model="smollm3")[2]
    assert "has no file *SingleLineInfilling*.jsonl*" in tune("--data", str(tmp_path / "empty"))[2]


def test_a_missing_library_is_named(
    run: Callable[..., tuple[int, str, str]], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, the command names the missing library and the installation."""
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    for name in ("command", "pipeline", "held_out_evaluation"):  # These modules are imported again.
        monkeypatch.delitem(sys.modules, f"{finetune.__name__}.{name}", raising=False)
        monkeypatch.delattr(finetune, name, raising=False)

    code, _, err = run("finetune", repository, "--name", "mine")

    assert code == 1
    assert err == 'pellucid: This command needs rapidfuzz: run pip install "pellucid[learn]".\n'


def test_training_that_helps_nothing_writes_nothing(tune: Tune, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training without improvement on held-out files is an error without an adapter."""
    losses = count(5.0)
    monkeypatch.setattr(AdapterTrainer, "_held_out_loss", lambda self, samples: next(losses))

    code, _, err = tune("--steps", "4")

    assert code == 1
    assert "The loss on held-out files did not improve in 3 steps, so no adapter was written" in err
    assert not (Store(cache).adapters / "mine").exists()


@pytest.mark.parametrize("dry", [False, True])
def test_ctrl_c(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry: bool
) -> None:
    """Ctrl-C ends the command with the way to resume, except a dry run without state."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pellucid.learn.finetune.command.finetune", interrupted)
    code, _, err = run("finetune", tmp_path, "--name", "mine", *(["--dry-run"] if dry else []))
    assert code == 130
    assert ("repeat the command to resume" in err) != dry
