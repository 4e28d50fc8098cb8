"""The number of steps of a training, and the learning rates.

With a time limit, the number of steps is adjusted to the actual pace, because machines slow down
and other load varies. The learning rate curve is then stretched over the remaining steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

MARKS = (0.2, 0.4, 0.6, 0.75, 0.85, 0.93)
"""Shares of time or steps at which the number of steps is adjusted."""

MIN_STEPS = 10


@dataclass(frozen=True, slots=True)
class SchedulePhase:
    """A decision after ``step`` steps and ``seconds`` of training: ``steps`` in total."""

    step: int
    steps: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """``seconds`` is the time limit, if any; ``most`` bounds the steps."""

    stretches: tuple[SchedulePhase, ...]
    seconds: float | None = None
    most: int | None = None

    @classmethod
    def of_steps(cls, steps: int) -> Self:
        return cls((SchedulePhase(0, steps),))

    @classmethod
    def of_seconds(cls, seconds: float, step: float, most: int | None = None) -> Self:
        """Return a schedule that fills ``seconds``, with ``step`` seconds per step."""
        return cls((), seconds, most)._with(0, 0.0, step)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            tuple(SchedulePhase(**stretch) for stretch in stored["stretches"]), stored["seconds"], stored["most"]
        )

    @property
    def steps(self) -> int:
        return self.stretches[-1].steps

    def due(self, step: int, seconds: float) -> bool:
        last = self.stretches[-1]
        return last.step < step < last.steps and self._passed(step, seconds) > self._passed(last.step, last.seconds)

    def settled(self, step: int, seconds: float) -> Self:
        last = self.stretches[-1]
        return self._with(step, seconds, (seconds - last.seconds) / (step - last.step))

    def progress(self, step: float) -> float:
        """Return the share of the training before ``step``, independent of later decisions."""
        done = 0.0
        for number, stretch in enumerate(self.stretches):
            end = self.stretches[number + 1].step if number + 1 < len(self.stretches) else stretch.steps
            done += (1 - done) * (min(step, end) - stretch.step) / (stretch.steps - stretch.step)
            if step <= end:
                break
        return done

    def rate(self, step: int, warm_up: int, peak: float) -> float:
        """Return the learning rate in the middle of a step: linear warm-up, then half a cosine."""
        first = self.stretches[0].steps
        risen, done = min(warm_up / first, 0.1), self.progress(step + 0.5)
        if done < risen:
            return peak * done / risen
        return peak * 0.5 * (1 + math.cos(math.pi * (done - risen) / (1 - risen)))

    def _passed(self, step: int, seconds: float) -> int:
        if self.seconds is None:
            return 0
        done = self.progress(step)
        return sum(done >= mark or seconds >= mark * self.seconds for mark in MARKS)

    def _with(self, step: int, seconds: float, pace: float) -> Self:
        assert self.seconds is not None, "there is time that is given"
        steps = max(step + max(int((self.seconds - seconds) / pace), 1), MIN_STEPS)
        if self.most is not None:
            steps = min(steps, self.most)
        return replace(self, stretches=(*self.stretches, SchedulePhase(step, steps, seconds)))
