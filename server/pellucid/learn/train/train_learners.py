"""Trains the three learners, each into an ordinary model folder."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import Document, Split
from pellucid.learn.train import gpt_model, logistic_trainer, ngram_trainer, tokenizers
from pellucid.learn.train.batches import Stream, validation_windows
from pellucid.learn.train.bits_per_byte import Bytes, bits_per_byte
from pellucid.learn.train.cpu_energy import EnergyMeter
from pellucid.learn.train.gpt_trainer import GPTTrainer, StepListener, TrainingData, measure
from pellucid.learn.train.plan import Run
from pellucid.learn.train.results_table import TrainingCost
from pellucid.learn.train.schedule import Schedule
from pellucid.models.byte_window_folder import write_logistic, write_ngram
from pellucid.models.tokenizers.folder_tokenizer import read_tokenizer
from pellucid.system.atomic_files import OTHER_OUT, errors_explained
from pellucid.system.progress import Progress

CHECKPOINT = "checkpoint.safetensors"

MEASURING_SHARE = 0.02


def learn_ngram(run: Run, split: Split) -> None:
    begun, meter = time.perf_counter(), EnergyMeter()
    validation = _bytes(split.validation)
    model = ngram_trainer.fit(_bytes(split.train), validation)
    training = TrainingCost(
        model.parameters,
        time.perf_counter() - begun,
        None,
        meter.lap(),
        bits_per_byte(model, validation),
        model.description,
    )
    with _published(run.folder / "ngram", training) as folder:
        write_ngram(folder, model)
        tokenizers.write(folder, "bytes", 0, ())


def learn_logistic(run: Run, split: Split, progress: Progress) -> None:
    begun, meter = time.perf_counter(), EnergyMeter()
    fitted = logistic_trainer.fit(_bytes(split.train), run.plan.logistic, run.plan.seed, progress)
    seconds, places = time.perf_counter() - begun, sum(document.size for document in split.train)
    training = TrainingCost(
        fitted.parameters,
        seconds,
        6.0 * fitted.multiplications * fitted.seen,
        meter.lap(),
        bits_per_byte(fitted.model, _bytes(split.validation)),
        f"{fitted.seen:,} positions of {places:,} bytes",
    )
    with _published(run.folder / "logistic", training) as folder:
        write_logistic(folder, fitted.model)
        tokenizers.write(folder, "bytes", 0, ())


def learn_tokenizer(run: Run, split: Split) -> None:
    with _published(run.folder / "tokenizer") as folder:
        tokenizers.write(folder, run.plan.tokenizer, run.plan.vocabulary, [document.text for document in split.train])


def training_data_of(run: Run, split: Split) -> TrainingData:
    tokenizer = read_tokenizer(run.folder / "tokenizer")
    marker = tokenizer.bos_id
    assert marker is not None, "texts begin with a marker"

    def ids(documents: Sequence[Document]) -> torch.Tensor:
        return torch.tensor([id for document in documents for id in (marker, *tokenizer.encode(document.text))])

    def bytes_by_token(documents: Sequence[Document], tokens: torch.Tensor) -> float:
        return sum(document.size for document in documents) / (len(tokens) - len(documents))

    context = run.plan.sizes.shape.context
    train, validation = ids(split.train), ids(split.validation)
    return TrainingData(
        Stream(train, context, marker, run.plan.seed),
        validation_windows(validation, context),
        bytes_by_token(split.train, train),
        bytes_by_token(split.validation, validation),
        tokenizer.vocab_size,
    )


def trainer_of(run: Run, data: TrainingData, device: torch.device) -> GPTTrainer:
    sizes = run.plan.sizes
    return GPTTrainer(sizes.shape, sizes.recipe, data, run.plan.seed, device)


def settle_steps(run: Run, data: TrainingData, device: torch.device, seconds: float | None) -> None:
    """Store the number of steps. With ``seconds``, a measured step determines the number."""
    most = run.plan.max_steps
    if seconds is None:
        assert most is not None, "a run is bounded by steps or by time"
        run.settle(Schedule.of_steps(most))
        return
    begun = time.perf_counter()
    step = measure(trainer_of(run, data, device), MEASURING_SHARE * seconds)
    run.settle(Schedule.of_seconds(seconds - (time.perf_counter() - begun), step, most))


def learn_gpt(run: Run, trainer: GPTTrainer, listener: StepListener) -> None:
    path = run.folder / CHECKPOINT
    trainer.train(run.schedule, path, listener, run.settle)
    progression, shape = trainer.progression, run.plan.sizes.shape
    parameters = shape.parameters(trainer.model.vocabulary)
    ended = "" if progression.step == run.schedule.steps else ", stopped without further improvement"
    training = TrainingCost(
        parameters,
        progression.seconds,
        6.0 * parameters * progression.step * trainer.tokens,
        progression.joules,
        progression.best,
        f"best of {progression.step:,} steps at step {progression.best_step:,}{ended}",
    )
    with _published(run.folder / "gpt", training) as folder:
        gpt_model.write(folder, shape, trainer.best, trainer.data.stream.marker)
        for file in (run.folder / "tokenizer").iterdir():
            shutil.copyfile(file, folder / file.name)
    path.unlink()


def _bytes(documents: Sequence[Document]) -> list[Bytes]:
    return [np.frombuffer(bytearray(document.text.encode()), dtype=np.uint8) for document in documents]


@contextmanager
def _published(folder: Path, training: TrainingCost | None = None) -> Iterator[Path]:
    """Yield a temporary folder, then rename the folder. Raises ModelError for write errors."""
    part = folder.with_name(folder.name + ".part")
    with errors_explained(folder.parent, OTHER_OUT):
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir()
            yield part
            if training is not None:
                (part / "training.json").write_text(json.dumps(asdict(training), indent=2) + "\n", encoding="utf-8")
            part.replace(folder)
        except (OSError, InvalidRequestError):
            shutil.rmtree(part, ignore_errors=True)
            raise
