"""The number of steps of a training, and the learning rate of each.

With a time limit, the number of steps is settled again during training from the actual pace,
because machines slow down and other load comes and goes. The rest of the learning rate's curve is
then stretched over the remaining steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

MARKS = (0.2, 0.4, 0.6, 0.75, 0.85, 0.93)
"""Shares of the time, or of the steps if they are ahead, after which the number of steps is settled
again.
"""

MIN_STEPS = 10
"""Fewest steps, however short the time."""


@dataclass(frozen=True, slots=True)
class SchedulePhase:
    """A decision after ``step`` steps and ``seconds`` of training: there are ``steps`` in all."""

    step: int
    steps: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of a training, phase by phase.

    ``seconds`` is the time limit, None if the steps are given; ``most`` bounds the steps.
    """

    stretches: tuple[SchedulePhase, ...]
    seconds: float | None = None
    most: int | None = None

    @classmethod
    def of_steps(cls, steps: int) -> Self:
        """Return a schedule of this many steps, however long they take."""
        return cls((SchedulePhase(0, steps),))

    @classmethod
    def of_seconds(cls, seconds: float, step: float, most: int | None = None) -> Self:
        """Return a schedule of what fits into ``seconds`` if a step takes ``step`` of them."""
        return cls((), seconds, most)._with(0, 0.0, step)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Build a schedule from the JSON of :func:`dataclasses.asdict`."""
        return cls(
            tuple(SchedulePhase(**stretch) for stretch in stored["stretches"]), stored["seconds"], stored["most"]
        )

    @property
    def steps(self) -> int:
        """The number of steps, as last settled."""
        return self.stretches[-1].steps

    def due(self, step: int, seconds: float) -> bool:
        """Return True if the number of steps is to be settled again after ``step``, at ``seconds`` of training."""
        last = self.stretches[-1]
        return last.step < step < last.steps and self._passed(step, seconds) > self._passed(last.step, last.seconds)

    def settled(self, step: int, seconds: float) -> Self:
        """Return a schedule that fits the remaining time at the pace since the last decision."""
        last = self.stretches[-1]
        return self._with(step, seconds, (seconds - last.seconds) / (step - last.step))

    def progress(self, step: float) -> float:
        """Return the share of the training before ``step``, 0 to 1.

        Later decisions do not change it.
        """
        done = 0.0
        for number, stretch in enumerate(self.stretches):
            end = self.stretches[number + 1].step if number + 1 < len(self.stretches) else stretch.steps
            done += (1 - done) * (min(step, end) - stretch.step) / (stretch.steps - stretch.step)
            if step <= end:
                break
        return done

    def rate(self, step: int, warm_up: int, peak: float) -> float:
        """Return the learning rate in the middle of a step, from 0 on: linear up to ``peak``, then half a cosine to zero.

        ``warm_up`` is the number of steps up to the peak, at most a tenth of all.
        """
        first = self.stretches[0].steps
        risen, done = min(warm_up / first, 0.1), self.progress(step + 0.5)
        if done < risen:
            return peak * done / risen
        return peak * 0.5 * (1 + math.cos(math.pi * (done - risen) / (1 - risen)))

    def _passed(self, step: int, seconds: float) -> int:
        """Return the number of marks that have passed; 0 if the steps are given."""
        if self.seconds is None:
            return 0
        done = self.progress(step)
        return sum(done >= mark or seconds >= mark * self.seconds for mark in MARKS)

    def _with(self, step: int, seconds: float, pace: float) -> Self:
        """Return a schedule with another phase, in which a step takes ``pace`` seconds."""
        assert self.seconds is not None, "there is time that is given"
        steps = max(step + max(int((self.seconds - seconds) / pace), 1), MIN_STEPS)
        if self.most is not None:
            steps = min(steps, self.most)
        return replace(self, stretches=(*self.stretches, SchedulePhase(step, steps, seconds)))
