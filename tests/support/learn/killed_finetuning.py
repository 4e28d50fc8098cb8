"""Run ``pellucid`` with small sizes and slow, saved steps, so that a test can kill the process."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pellucid.cli.app import app
from pellucid.learn.finetune import forgetting_texts, pipeline
from pellucid.learn.finetune.held_out_evaluation import Effort
from pellucid.learn.finetune.training import trainer
from pellucid.learn.finetune.training.samples import Sample


def main() -> None:
    trainer.SAVED_EVERY_SECONDS = 0.0
    pipeline.CONTEXT_TOKENS = {"cpu": 96}
    pipeline.EFFORT = Effort(tokens=100, cursors=2, lines=2, window=64)
    forgetting_texts._TOPICS, forgetting_texts._MODULES = ("class", "for"), ("queue", "wave")
    step = trainer.AdapterTrainer.step

    def slow_step(self: trainer.AdapterTrainer, samples: Sequence[Sample]) -> float:
        time.sleep(0.1)
        return step(self, samples)

    trainer.AdapterTrainer.step = slow_step  # type: ignore[method-assign]
    app()


if __name__ == "__main__":
    main()
