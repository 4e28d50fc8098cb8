"""Tests of the plan, the schedule, the energy, the curves and the leads of training."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest

from pellucid.errors import InvalidRequestError, ModelError
from pellucid.learn.corpus import Corpus, Document, split
from pellucid.learn.score_text import TextReading
from pellucid.learn.train.checkpoint import LossPoint
from pellucid.learn.train.cpu_energy import EnergyMeter, counters
from pellucid.learn.train.lead_significance import BLOCK_BYTES, describe_lead, lead
from pellucid.learn.train.loss_curves import HEIGHT, LEFT, RIGHT, STYLES, TOP, WIDTH, draw, picture
from pellucid.learn.train.plan import TrainPlan, digest, opened
from pellucid.learn.train.schedule import MARKS, MIN_STEPS, Schedule, SchedulePhase
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


def test_rate() -> None:
    """The learning rate rises linearly to its peak and falls along half a cosine to zero."""
    rates = [Schedule.of_steps(100).rate(step, 10, 1.0) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 0.5) for step in range(10)])
    assert (rates[54] + rates[55]) / 2 == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_a_short_training_warms_up_shortly() -> None:
    """The peak is reached within a tenth of the steps."""
    rates = [Schedule.of_steps(20).rate(step, 100, 1.0) for step in range(20)]
    assert rates.index(max(rates)) == 2


@pytest.mark.parametrize("pace", [0.1, 0.9, 1.5, 4.0])
def test_the_time_is_kept(pace: float) -> None:
    """Steps of any pace fit the time to within two steps, and the rate falls without a jump."""
    schedule, step, rates = Schedule.of_seconds(1000.0, 1.0), 0, []
    while step < schedule.steps:
        rates.append(schedule.rate(step, 50, 1.0))
        step += 1
        if schedule.due(step, step * pace):
            schedule = schedule.settled(step, step * pace)
    assert step * pace == pytest.approx(1000.0, abs=2 * pace)
    assert len(schedule.stretches) == len(MARKS) + 1
    assert max(rates) == pytest.approx(1.0, abs=0.1)
    assert 0 < rates[-1] < 0.001
    assert all(abs(after - before) < 0.05 for before, after in pairwise(rates))


def test_the_time_is_kept_where_the_pace_changes() -> None:
    """Steps that become slower half way end within a twentieth of the time."""
    schedule, step, now = Schedule.of_seconds(300.0, 0.06), 0, 0.0
    while step < schedule.steps:
        now += 0.06 if now < 150 else 0.09
        step += 1
        if schedule.due(step, now):
            schedule = schedule.settled(step, now)
    assert 295 < now < 315


def test_what_is_settled_does_not_change_what_was() -> None:
    """A later decision keeps the earlier progress, so a killed run repeats the same steps."""
    first = Schedule.of_seconds(100.0, 1.0)
    second = first.settled(30, 60.0)
    third = second.settled(40, 80.0)
    assert second.steps == 50
    assert [second.progress(step) for step in range(31)] == [first.progress(step) for step in range(31)]
    assert [third.progress(step) for step in range(41)] == [second.progress(step) for step in range(41)]
    assert third.progress(third.steps) == pytest.approx(1.0)


def test_when_it_is_due() -> None:
    """A decision is due once at each mark, never with given steps or before the last decision."""
    schedule = Schedule.of_seconds(100.0, 1.0)
    assert not schedule.due(19, 19.9)
    assert schedule.due(19, 20.0)
    assert schedule.due(20, 2.0)
    later = schedule.settled(19, 70.0)  # Two more marks have passed.
    assert not later.due(20, 74.0)
    assert later.due(20, 76.0)
    assert not later.due(12, 76.0)
    assert not Schedule.of_steps(100).due(50, 1e9)


def test_bounds() -> None:
    """The number of steps has a lower and an upper bound."""
    assert Schedule.of_seconds(100.0, 1.0, most=30).settled(10, 5.0).steps == 30
    assert Schedule.of_seconds(1.0, 1.0).steps == MIN_STEPS
    late = Schedule.of_seconds(-3.0, 1.0)  # No time was left.
    assert late.steps == MIN_STEPS
    assert not any(late.due(step, float(step)) for step in range(MIN_STEPS + 1))
    assert Schedule.of_seconds(100.0, 1.0).settled(3, 200.0).steps == MIN_STEPS
    assert Schedule.of_seconds(100.0, 1.0).settled(30, 200.0).steps == 31


def test_it_is_kept_in_json() -> None:
    """A schedule can be read from its JSON."""
    for schedule in (
        Schedule.of_steps(7),
        Schedule.of_seconds(10.0, 0.3, 20).settled(5, 4.0),
        Schedule((SchedulePhase(0, 3),)),
    ):
        assert Schedule.read(json.loads(json.dumps(asdict(schedule)))) == schedule


def package(root: Path, name: str, microjoules: int) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "max_energy_range_uj").write_text("1000000\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_packages_are_added_up_and_wrap(tmp_path: Path) -> None:
    """Joules are of all packages since the last lap, across a wrap, and parts count once."""
    first, second = package(tmp_path, "intel-rapl:0", 100), package(tmp_path, "intel-rapl:1", 900_000)
    package(tmp_path, "intel-rapl:0:0", 50)
    meter = EnergyMeter(counters(tmp_path))
    first.write_text("500100\n")
    second.write_text("100000\n")
    assert meter.lap() == pytest.approx(0.5 + 0.2)
    assert meter.lap() == 0


def test_no_counter(tmp_path: Path) -> None:
    """Without a readable counter there is no figure."""
    assert EnergyMeter(counters(tmp_path)).lap() is None
    package(tmp_path, "intel-rapl:0", 100).unlink()
    assert counters(tmp_path) == []


SVG = "{http://www.w3.org/2000/svg}"
POINTS = [LossPoint(10, 5.0, 4.5), LossPoint(50, 3.0, 3.2), LossPoint(100, 2.0, 2.4)]


def parsed(points: list[LossPoint], baselines: dict[str, float]) -> Element:
    return ElementTree.fromstring(picture(points, 100, baselines).file())


def line(root: Element, part: str) -> list[tuple[float, float]]:
    (curve,) = [element for element in root.iter(f"{SVG}polyline") if element.get("class") == STYLES[part]]
    pairs = [pair.split(",") for pair in curve.get("points", "").split()]
    return [(float(x), float(y)) for x, y in pairs]


def test_curves_and_baselines_share_a_scale() -> None:
    """Points are at step and value, and a baseline of the same value is level with a point."""
    root = parsed(POINTS, {"ngram": 2.4})
    validation = line(root, "validation")
    assert [x for x, _ in validation] == pytest.approx(
        [LEFT + (WIDTH - LEFT - RIGHT) * step / 100 for step in (10, 50, 100)], abs=0.1
    )
    (baseline,) = [element for element in root.iter(f"{SVG}line") if element.get("class") == "line baseline"]
    assert float(baseline.get("y1", "")) == validation[-1][1]
    assert all(TOP <= y <= HEIGHT for _, y in (*validation, *line(root, "train")))
    # A lower point in a picture is a larger number.
    assert validation[0][1] < validation[1][1] < validation[2][1]


def test_texts() -> None:
    """Step, best and baselines are also in words, and the picture loads nothing."""
    source = picture(POINTS, 100, {"n<gram": 2.5}).file()
    shown = [element.text or "" for element in ElementTree.fromstring(source).iter(f"{SVG}text")]
    assert "step 100 of 100; validation 2.400, best 2.400 at step 100" in shown
    assert "n<gram, 2.500" in shown
    assert "prefers-color-scheme: dark" in source
    assert source.count("http") == 1


@pytest.mark.parametrize("baselines", [{}, {"ngram": 2.0}])
def test_before_the_first_point(baselines: dict[str, float]) -> None:
    """A picture can be drawn before the first point."""
    assert not list(parsed([], baselines).iter(f"{SVG}polyline"))


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """A missing folder is reported in one sentence."""
    draw(tmp_path / "curves.svg", POINTS, 100, {})
    assert (tmp_path / "curves.svg").read_text() == picture(POINTS, 100, {}).file()
    with pytest.raises(ModelError, match=r"cannot be written to \(No such file or directory\)"):
        draw(tmp_path / "gone" / "curves.svg", POINTS, 100, {})


RANDOM = np.random.default_rng(0)


def reading(bits: np.ndarray, sizes: np.ndarray) -> TextReading:
    """Return a reading of tokens with these bits."""
    ones = np.ones(len(bits))
    return TextReading(-bits * math.log(2), ones.astype(np.int64), sizes, ones)


def bytes_read(bits: np.ndarray) -> TextReading:
    """Return a reading with one byte per token."""
    return reading(bits, np.ones(len(bits), dtype=np.int64))


def test_a_lead_across_tokenizers() -> None:
    """The lead is the difference of bits per byte for all tokenizers, with an interval."""
    bits = RANDOM.gamma(2.0, 1.0, 8 * BLOCK_BYTES + 100)
    pairs = reading(bits.reshape(-1, 2).sum(1) * 0.9, np.full(len(bits) // 2, 2))
    found = lead(pairs, bytes_read(bits))

    assert found.value == pytest.approx(0.1 * bits.mean())
    assert found.low < found.value < found.high
    assert found.excludes_zero
    assert describe_lead("ngram", found).startswith("The gpt reads better than the ngram: by +0.2")
    assert describe_lead("ngram", lead(bytes_read(bits), pairs)).startswith(
        "The gpt reads worse than the ngram: by -0.2"
    )


def test_a_lead_by_chance() -> None:
    """Two readers, each better in some blocks, have no winner."""
    bits = RANDOM.gamma(2.0, 1.0, 10 * BLOCK_BYTES)
    swayed = bits + np.repeat([0.3, -0.3, 0.2, -0.2, 0.3, -0.25, 0.2, -0.2, 0.1, -0.2], BLOCK_BYTES)
    assert "No difference is shown" in describe_lead("ngram", lead(bytes_read(bits), bytes_read(swayed)))


def test_too_little_text() -> None:
    """A single block does not show a difference."""
    bits = np.ones(BLOCK_BYTES // 2)
    assert "No difference is shown" in describe_lead("ngram", lead(bytes_read(bits), bytes_read(bits + 1)))
