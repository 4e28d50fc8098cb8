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
    monkeypatch.setattr(pipeline, "EFFORT", Effort(tokens=200, cursors=4, lines=4, window=64))
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


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"
)  # The library peft uses an attribute that transformers has renamed.
def test_adapter_is_one_of_peft(tune: Tune, cache: Path, model_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The adapter can be read by peft, changes the model's output, and records value and origin."""
    code, out, _ = tune("--steps", "12", "--json")
    record = json.loads(out)
    folder = Store(cache).adapters / "mine"
    card = json.loads((folder / "pellucid.json").read_text())

    assert code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "pellucid.json",
    ]
    assert {**card, "folder": str(folder), "peak_memory": record["peak_memory"]} == record
    assert (card["base"], card["name"], card["prefix_only"]) == (str(model_folder), "mine", False)
    assert card["data"]["train_files"] == 14
    assert 0 < card["training"]["best_step"] <= 12
    assert [row["name"] for row in card["results"]] == [
        "bits per byte",
        "lines completed exactly",
        "edit similarity of these lines",
        "keystrokes saved",
        "calibration error",
        "bits per byte, English prose",
        "bits per byte, other code",
    ]
    assert not (Store(cache).finetuning / "mine").exists()

    plain = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    ids = random_ids(30)
    before = reference_logprobs(plain, ids)
    tuned: Any = PeftModel.from_pretrained(plain, folder)
    after = reference_logprobs(tuned, ids)
    assert (after - before).abs().max() > 0.01
    capfd.readouterr()  # Discard the library's own bars.

    code, out, err = tune("--steps", "12")
    assert (code, out) == (1, "")
    assert err == "pellucid: The adapter mine already exists: use another name, or replace it with --replace.\n"
    code, out, err = tune("--steps", "2", "--replace")
    assert code == 0, err
    assert "held-out files" in out
    assert json.loads((folder / "pellucid.json").read_text())["training"]["steps"] == 2
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_a_killed_run_resumes(tune: Tune, cache: Path, repository: Path, model_folder: Path) -> None:
    """After kill -9, the same command resumes from the checkpoint, and finishes the adapter."""
    words = [
        "finetune",
        str(repository),
        "--name",
        "mine",
        "--model",
        str(model_folder),
        "--device",
        "cpu",
        "--steps",
        "10",
    ]
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

    code, _, err = tune("--steps", "10")

    assert code == 0, err
    assert "Resuming an interrupted run after step" in err
    assert "evaluation before" not in err
    assert json.loads((Store(cache).adapters / "mine" / "pellucid.json").read_text())["training"]["steps"] <= 10


@pytest.mark.slow
def test_a_run_that_ends_before_it_is_published_judges_nothing_again(
    tune: Tune, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of an unpublished run are reused, and the adapter is published."""

    def fail(self: Pipeline, card: Mapping[str, Any]) -> Path:
        raise ModelError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "_publish", fail)
        code, _, err = tune("--steps", "4")
    assert (code, "evaluation before" in err, "evaluation after" in err) == (1, True, True)

    code, _, err = tune("--steps", "4")

    assert code == 0, err
    assert "judging" not in err
    assert (Store(cache).adapters / "mine").is_dir()
    assert not (Store(cache).finetuning / "mine").exists()


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


@pytest.mark.process
def test_a_missing_library_is_named(repository: Path) -> None:
    """Without the extra, the command names the missing library and the installation."""
    program = "import sys; sys.modules['rapidfuzz'] = None; from pellucid.cli.app import app; app()"
    words = ["finetune", str(repository), "--name", "mine"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment, stderr=subprocess.PIPE, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr == 'pellucid: This command needs rapidfuzz: run pip install "pellucid[learn]".\n'


@pytest.mark.slow
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
