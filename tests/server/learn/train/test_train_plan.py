"""Tests of the plan of training: written first, then followed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import Corpus, Document, split
from pellucid.learn.train.plan import PRESETS, TrainPlan, digest, opened
from pellucid.learn.train.schedule import Schedule
from support.learn.training_texts import text_of

PLAN = TrainPlan("cpu", "bpe", 1024, 5.0, None, 0, "abc", threads=2)
SCHEDULE = Schedule.of_seconds(100.0, 1.0).settled(20, 25.0)


def test_a_new_run_writes_its_plan(tmp_path: Path) -> None:
    """The folder first contains the plan, and then the steps."""
    with opened(tmp_path / "deep" / "run", PLAN) as run:
        assert run.plan == PLAN
        assert json.loads((run.folder / "plan.json").read_text())["schedule"] is None
        run.settle(SCHEDULE)
        assert run.schedule == SCHEDULE
        assert [
            one["steps"] for one in json.loads((run.folder / "plan.json").read_text())["schedule"]["stretches"]
        ] == [100, 80]


def test_the_same_command_resumes(tmp_path: Path) -> None:
    """A resumed run keeps its steps and threads, whatever the threads of the machine."""
    with opened(tmp_path, PLAN) as run:
        run.settle(SCHEDULE)
    with opened(tmp_path, replace(PLAN, threads=7)) as run:
        assert run.plan == replace(PLAN, schedule=SCHEDULE)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": "other"}, "was started with other text: give the same files, or name another folder with --out."),
        (
            {"seed": 1},
            "was started with --seed 0, not with --seed 1: use the same options, or name another folder with --out.",
        ),
        ({"tokenizer": "bytes"}, "was started with --tokenizer bpe, not with --tokenizer bytes: use the same options,"),
        ({"vocabulary": 512}, "was started with --vocab 1024, not with --vocab 512: use the same options,"),
        ({"max_minutes": 2.5}, "was started with --max-minutes 5, not with --max-minutes 2.5: use the same options,"),
        (
            {"max_minutes": None, "max_steps": 9},
            "was started with --max-minutes 5, not without --max-minutes: use the same options,",
        ),
        ({"max_steps": 9}, "was started without --steps, not with --steps 9: use the same options,"),
        ({"preset": "gpu"}, "was started with --preset cpu, not with --preset gpu: use the same options,"),
    ],
)
def test_other_data_or_settings_are_refused(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    """A run is resumed with its own data and settings, or not at all."""
    with opened(tmp_path, PLAN):
        pass
    with pytest.raises(InvalidRequestError) as caught, opened(tmp_path, replace(PLAN, **change)):  # type: ignore[arg-type]
        pass
    assert str(caught.value).startswith(f"{tmp_path} {sentence}")


def test_another_version_is_refused(tmp_path: Path) -> None:
    """A run of a different version is not resumed."""
    with opened(tmp_path, replace(PLAN, version=0)):
        pass
    with pytest.raises(InvalidRequestError, match="was started by another version of Pellucid"), opened(tmp_path, PLAN):
        pass


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    """Nothing is written to a folder that is not a run."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InvalidRequestError) as caught, opened(tmp_path, PLAN):
        pass
    assert (
        str(caught.value)
        == f"{tmp_path} contains something other than a training run (thesis.txt): name another folder with --out."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with (
        pytest.raises(InvalidRequestError, match=r"thesis.txt is a file: name a folder with --out\."),
        opened(tmp_path / "thesis.txt", PLAN),
    ):
        pass


def test_two_at_once(tmp_path: Path) -> None:
    """The second of two processes in one folder is rejected."""
    with (
        opened(tmp_path, PLAN),
        pytest.raises(
            InvalidRequestError, match=r"Another process is training in .*: wait for it, or name another folder"
        ),
        opened(tmp_path, PLAN),
    ):
        pass


def test_digest() -> None:
    """The digest changes with a name, a text or the part of a text."""
    parts = split(Corpus((Document("a", text_of(9000)), Document("b", text_of(9000, seed=1)))))
    assert digest(parts) == digest(replace(parts))
    renamed = replace(parts, train=(replace(parts.train[0], name="c"), *parts.train[1:]))
    moved = replace(parts, train=parts.train[:1], validation=(parts.train[1], *parts.validation))
    assert len({digest(parts), digest(renamed), digest(moved)}) == 3


def test_less_time_is_less_for_all() -> None:
    """Less time than the preset's shortens the logistic regression in proportion."""
    assert replace(PLAN, max_minutes=1.0).logistic == PLAN.sizes.logistic.shortened(0.2)
    assert (
        replace(PLAN, max_minutes=60.0).logistic
        == replace(PLAN, max_minutes=None, max_steps=9).logistic
        == PLAN.sizes.logistic
    )


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_are_bounded(preset: object) -> None:
    """Each preset has a time or a number of steps."""
    assert getattr(preset, "steps", None) is not None or getattr(preset, "minutes", None) is not None
