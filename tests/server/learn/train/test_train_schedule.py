"""Tests of the schedule: steps follow the time, and the learning rate follows the steps."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise

import pytest

from pellucid.learn.train.schedule import MARKS, MIN_STEPS, Schedule, SchedulePhase


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
