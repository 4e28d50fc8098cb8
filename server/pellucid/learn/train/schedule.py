"""How many steps a training has, and the learning rate of each.

Where it is time that is given, the number of steps is settled anew on the way from what steps really took, since machines slow down and
others' work comes and goes. What is left of the learning rate's curve is then stretched over the steps that are left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

MARKS = (0.2, 0.4, 0.6, 0.75, 0.85, 0.93)
"""Parts of the time, or of the steps where those are ahead, after which the number of steps is settled anew."""

LEAST_STEPS = 10
"""However little time there is, so many are made."""


@dataclass(frozen=True, slots=True)
class SchedulePhase:
    """What was settled behind ``step`` steps, when training had taken ``seconds``: that there are ``steps`` in all."""

    step: int
    steps: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of a training, stretch after stretch.

    ``seconds`` is the time that is given, None where it is steps that are; ``most`` bounds the steps.
    """

    stretches: tuple[SchedulePhase, ...]
    seconds: float | None = None
    most: int | None = None

    @classmethod
    def of_steps(cls, steps: int) -> Self:
        """So many steps, however long they take."""
        return cls((SchedulePhase(0, steps),))

    @classmethod
    def of_seconds(cls, seconds: float, step: float, most: int | None = None) -> Self:
        """What fits into ``seconds`` where a step takes ``step`` of them."""
        return cls((), seconds, most)._with(0, 0.0, step)

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """From what :func:`dataclasses.asdict` and JSON made of it."""
        return cls(tuple(SchedulePhase(**stretch) for stretch in said["stretches"]), said["seconds"], said["most"])

    @property
    def steps(self) -> int:
        """In all, by what was settled last."""
        return self.stretches[-1].steps

    def due(self, step: int, seconds: float) -> bool:
        """Whether the number of steps is to be settled anew behind ``step``, when training has taken ``seconds``."""
        last = self.stretches[-1]
        return last.step < step < last.steps and self._passed(step, seconds) > self._passed(last.step, last.seconds)

    def settled(self, step: int, seconds: float) -> Self:
        """With what fits into the time that is left, at the pace of the steps since it was settled last."""
        last = self.stretches[-1]
        return self._with(step, seconds, (seconds - last.seconds) / (step - last.step))

    def progress(self, step: float) -> float:
        """The part of the training that lies behind ``step`` steps, 0 to 1. What was settled later does not change it."""
        done = 0.0
        for number, stretch in enumerate(self.stretches):
            end = self.stretches[number + 1].step if number + 1 < len(self.stretches) else stretch.steps
            done += (1 - done) * (min(step, end) - stretch.step) / (stretch.steps - stretch.step)
            if step <= end:
                break
        return done

    def rate(self, step: int, warm_up: int, peak: float) -> float:
        """The learning rate of a step from 0 on, in its middle: a straight line up to ``peak``, then half a cosine down to nothing.

        ``warm_up`` are the steps up to the peak, or a tenth of all if that is less.
        """
        first = self.stretches[0].steps
        risen, done = min(warm_up / first, 0.1), self.progress(step + 0.5)
        if done < risen:
            return peak * done / risen
        return peak * 0.5 * (1 + math.cos(math.pi * (done - risen) / (1 - risen)))

    def _passed(self, step: int, seconds: float) -> int:
        """How many of the marks lie behind; none where it is steps that are given."""
        if self.seconds is None:
            return 0
        done = self.progress(step)
        return sum(done >= mark or seconds >= mark * self.seconds for mark in MARKS)

    def _with(self, step: int, seconds: float, pace: float) -> Self:
        """With one stretch more, in which a step takes ``pace`` seconds."""
        assert self.seconds is not None, "there is time that is given"
        steps = max(step + max(int((self.seconds - seconds) / pace), 1), LEAST_STEPS)
        if self.most is not None:
            steps = min(steps, self.most)
        return replace(self, stretches=(*self.stretches, SchedulePhase(step, steps, seconds)))
