"""Train with a tiny preset, and exit by SIGKILL after a step; arguments: STEP ARGUMENTS..."""

from __future__ import annotations

import os
import signal
import sys

from pellucid.cli.app import app
from pellucid.learn.train import gpt_trainer, plan
from pellucid.learn.train.checkpoint import Progression
from pellucid.learn.train.command import TrainingDisplay
from support.learn.tiny_preset import TINY


def main(step: int, arguments: list[str]) -> None:
    stepped = TrainingDisplay.stepped

    def killing(
        display: TrainingDisplay, progression: Progression, bits_per_byte: float, tokens_per_second: float
    ) -> None:
        stepped(display, progression, bits_per_byte, tokens_per_second)
        if progression.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    TrainingDisplay.stepped = killing  # type: ignore[method-assign, assignment]
    gpt_trainer.CHECKPOINT_SECONDS = 0.0
    plan.PRESETS["cpu"] = TINY
    app(arguments)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
