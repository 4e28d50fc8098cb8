"""The command ``pellucid finetune``."""

from __future__ import annotations

import sys

import torch

from pellucid.config import Settings
from pellucid.learn.finetune.estimate import estimate
from pellucid.learn.finetune.forgetting_texts import general_texts
from pellucid.learn.finetune.pipeline import FinetuneOptions, Pipeline, check_name
from pellucid.learn.finetune.report import PREFIX_ONLY, as_json, left_out, show_estimate, show_tuned, tuned_record
from pellucid.learn.finetune.repository_files import collect
from pellucid.models.store import Store
from pellucid.system.processors import threads_to_use
from pellucid.terminal.progress_bars import Bars, Steps


def finetune(settings: Settings, options: FinetuneOptions, *, dry_run: bool, json: bool) -> None:
    """Train an adapter and print a comparison or, with ``dry_run``, estimate the cost.

    The model is downloaded in both cases.
    """
    torch.set_num_threads(threads_to_use(settings.threads))
    store = Store(settings.cache)
    check_name(options.name, store, replace=options.replace)
    general = general_texts(options.data)
    with Steps() as steps:
        dataset = collect(options.path, steps)
    with Bars() as bars:
        pipeline = Pipeline.open(options, dataset, general, settings.device, store, bars)
    if dry_run:
        with Steps() as steps:
            found = estimate(pipeline, steps)
        if json:
            sys.stdout.write(as_json(found.record()))
        else:
            show_estimate(found, dataset)
        return
    with pipeline.alone(), Steps() as steps:
        for line in [*left_out(dataset), *([PREFIX_ONLY] if pipeline.base.infill is None else [])]:
            steps.note(line)
        tuned = pipeline.tune(steps)
    if json:
        sys.stdout.write(as_json(tuned_record(tuned)))
    else:
        show_tuned(tuned)
