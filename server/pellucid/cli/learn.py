"""The commands that train, evaluate, calibrate and review models.

Heavy imports happen inside commands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.api_key_option import ApiKeyFile, ServerKey, warn_of_visible_key
from pellucid.errors import ConfigError, InvalidRequestError

learning = typer.Typer(rich_markup_mode=None)
suggestions_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
learning.add_typer(
    suggestions_app, name="suggestions", help="Show, export or delete the log of suggestions, if an editor keeps a log."
)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ModelName = Annotated[str | None, typer.Option("--model", "-m", help="Catalog name, hub id, folder or .gguf file.")]
DataFolder = Annotated[Path | None, typer.Option("--data", help="The data folder that contains the log.")]


@contextmanager
def needing(extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f'This command needs {error.name}: run pip install "pellucid[{extra}]".') from error


@contextmanager
def resumable() -> Iterator[None]:
    """Exit after Ctrl-C with a note that the finished work is kept."""
    try:
        yield
    except KeyboardInterrupt:
        from pellucid.cli.complete_chat_score import INTERRUPTED

        sys.stderr.write("Interrupted: repeat the command to resume.\n")
        raise typer.Exit(INTERRUPTED) from None


@learning.command(
    epilog="Example: pellucid review leap --model smollm2-135m-instruct --model qwen2.5-coder-0.5b-instruct "
    "--prompts q.txt"
)
def review(
    name: Annotated[
        str | None, typer.Argument(help="Name of the review; without a name, all reviews are listed.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Model to compare: give two models, or the same model twice with --temperature."
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Create the review: one prompt per line, or JSON lines with a prompt."
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum tokens of an answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always picks the most probable token.")] = 0.0,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same tokens.")] = None,
    json: Json = False,
) -> None:
    """Compare the answers of two models blind: people judge them on the page's Review tab.

    With --prompts and two models, create a review. Without prompts, show the review's win rate and
    the raters' agreement.
    """
    from pellucid.config import load_settings

    with needing("learn"):
        from pellucid.learn.review import command

    settings = load_settings()
    if prompts is not None:
        if name is None:
            raise InvalidRequestError(
                "The review needs a name: pellucid review NAME --model A --model B --prompts FILE."
            )
        from pellucid.cli.complete_chat_score import sampling

        command.make(settings, name, model or (), prompts, sampling(max_tokens, temperature, 1.0, 0, 0.0, seed, 0))
    elif model:
        raise InvalidRequestError("A new review needs prompts: give --prompts FILE as well.")
    elif name is None:
        command.list_reviews(settings)
    else:
        command.show_review(settings, name, json=json)


CURSORS = 400


class PresetName(StrEnum):
    """Size of the trained model, by the kind of machine for the training."""

    CPU = "cpu"
    GPU = "gpu"


class TokenizerKind(StrEnum):
    """Tokens of a trained model."""

    BYTES = "bytes"
    BPE = "bpe"
    UNIGRAM = "unigram"


@learning.command(epilog="Example: pellucid train notes/ book.txt --out run, and then: pellucid serve --model run/gpt")
def train(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders of text or code.")],
    out: Annotated[
        Path, typer.Option(metavar="RUN", help="Folder for the models, the plan, the loss curves and the table.")
    ],
    preset: Annotated[
        PresetName, typer.Option(help="Size of the model; cpu suits two cores and five minutes.")
    ] = PresetName.CPU,
    tokenizer: Annotated[
        TokenizerKind | None, typer.Option(help="Tokenizer of the GPT; by default the preset's.")
    ] = None,
    vocab: Annotated[int | None, typer.Option(help="Vocabulary size of bpe or unigram.")] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(min=0.1, help="Approximate time limit; training takes fewer steps to keep the limit."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Maximum training steps of the GPT.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The same seed and steps give the same weights.")] = 0,
    json: Json = False,
) -> None:
    """Train a tiny GPT on any text, and compare the GPT with two baselines.

    The baselines are an n-gram model and a logistic regression. All three models become folders
    that can be served like any other model. To resume an interrupted run, repeat the command.
    """
    with needing("learn"):
        from pellucid.learn.train.command import train as run

    with resumable():
        run(
            paths,
            out,
            preset=preset.value,
            tokenizer=None if tokenizer is None else tokenizer.value,
            vocabulary=vocab,
            max_minutes=max_minutes,
            steps=steps,
            seed=seed,
            json=json,
        )


@learning.command(epilog="Example: pellucid calibrate ~/src/project --cursors 400 --plot trust.svg")
def calibrate(
    path: Annotated[Path, typer.Argument(help="Folder of source files similar to your files.")],
    model: ModelName = None,
    cursors: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of cursors at which suggestions are requested, with and without the text after the cursor: "
            "50 or more, by default 400.",
        ),
    ] = None,
    edits: Annotated[
        bool,
        typer.Option(
            "--edits",
            help="Calibrate next edits instead: PATH is a git repository, or a folder of releases (PACKAGE/VERSION/).",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --edits, the number of edits with proposals that the model reads; by default 140."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the calibration to this file; editors do not use the file."),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File for the replay's records; an interrupted run resumes from these records."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw a chart of the calibration into this file.")
    ] = None,
    with_log: Annotated[bool, typer.Option("--with-log", help="Also fit on the suggestions in the log.")] = False,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="vLLM server that computes the model, as for `pellucid serve`. May be given several times.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Calibrate a model's suggestion probabilities, so that editors show likely suggestions.

    Suggestions are requested throughout the files and compared with the following text. Unlike in
    an editor, there are no chunks of other files and no time limit, so an editor's accuracy may
    differ. The calibration is fitted on some files and measured on different files. This takes
    minutes to an hour on a CPU. To resume an interrupted run, repeat the command.
    """
    from pellucid.config import load_settings

    _check_kind(
        {"--cursors": cursors, "--records": records, "--plot": plot, "--with-log": with_log or None}, limit, edits=edits
    )
    settings = load_settings(models=None if model is None else (model,), engines=engine or None)
    if edits:
        with needing("learn"):
            from pellucid.learn.calibrate.edits_command import CalibrateEditsOptions, calibrate_edits
        with resumable():
            calibrate_edits(settings, CalibrateEditsOptions(path, limit, out, json))
        return
    with needing("learn"):
        from pellucid.learn.calibrate.command import CalibrateOptions
        from pellucid.learn.calibrate.command import calibrate as run
    with resumable():
        run(
            settings,
            CalibrateOptions(path, CURSORS if cursors is None else cursors, out, records, plot, with_log, json),
        )


def _check_kind(of_suggestions: Mapping[str, object], limit: int | None, *, edits: bool) -> None:
    """Raise a usage error for suggestion options with --edits, or --limit without --edits."""
    if not edits and limit is not None:
        raise typer.BadParameter("is for --edits: give the number of --cursors instead.", param_hint="--limit")
    for name, given in of_suggestions.items():
        if edits and given is not None:
            raise typer.BadParameter("cannot be combined with --edits.", param_hint=name)


@suggestions_app.command("show", epilog="Example: pellucid suggestions show")
def show_suggestions(data: DataFolder = None) -> None:
    """Show by model how much of the suggestions was accepted, with and without an adapter."""
    from pellucid.cli import suggestion_log_commands

    suggestion_log_commands.show(data)


@suggestions_app.command("export", epilog="Example: pellucid suggestions export suggestions.jsonl")
def export_suggestions(
    file: Annotated[Path, typer.Argument(help="File to write, one JSON line per suggestion.")], data: DataFolder = None
) -> None:
    """Export the log of suggestions to a file."""
    from pellucid.cli import suggestion_log_commands

    suggestion_log_commands.export(file, data)


@suggestions_app.command("delete", epilog="Example: pellucid suggestions delete")
def delete_suggestions(data: DataFolder = None) -> None:
    """Delete the log of suggestions."""
    from pellucid.cli import suggestion_log_commands

    suggestion_log_commands.delete(data)


@learning.command(epilog="Example: pellucid finetune ~/project --name project --dry-run, and then without --dry-run")
def finetune(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of the repository.")],
    name: Annotated[str, typer.Option(help="Name of the adapter.")],
    model: ModelName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate the cost without making an adapter.")] = False,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Maximum minutes of training; evaluation before and after takes extra time.")
    ] = 20.0,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps, regardless of time; by default three passes over the data."),
    ] = None,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the adapter's matrices.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same samples and initial weights.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing adapter with this name.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Folder with HumanEval's infilling problems, for measuring forgetting.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:N, mps, xpu or xpu:N.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Compute threads; 0 uses one per physical core.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of downloaded models and adapters.")] = None,
    json: Json = False,
) -> None:
    """Tune a model to a repository with a low-rank adapter, and measure the gain on held-out files.

    The model itself is not changed. To resume an interrupted run, repeat the command.
    """
    from pellucid.config import load_settings

    settings = load_settings(device=device, threads=threads, cache=cache)
    with needing("learn"):
        from pellucid.learn.finetune.command import finetune as run
        from pellucid.learn.finetune.pipeline import FinetuneOptions
    options = FinetuneOptions(
        path,
        model or settings.models[0],
        name,
        minutes=minutes,
        steps=steps,
        rank=rank,
        seed=seed,
        replace=replace,
        data=data,
    )
    with nullcontext() if dry_run else resumable():
        run(settings, options, dry_run=dry_run, json=json)


SUITES = "perplexity, infilling, humaneval, next-edit, unknown-names, text, truthfulqa, crows-pairs, winogender, speed"


@learning.command(
    epilog="Example: pellucid evaluate smollm2-135m-instruct --suite perplexity,infilling --text notes.txt --data "
    "benchmarks --out results"
)
def evaluate(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL...", help="Catalog name, hub id, folder or .gguf file.")
    ] = None,
    suite: Annotated[list[str] | None, typer.Option(metavar="S,...", help=f"Suites to run: {SUITES}.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of benchmark files; nothing is downloaded.")
    ] = None,
    text: Annotated[Path | None, typer.Option(metavar="PATH", help="File or folder for the suite perplexity.")] = None,
    references: Annotated[
        Path | None, typer.Option(metavar="FILE", help='JSON lines for the suite text: {"prompt", "reference"}.')
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Encoder for BERTScore: a folder with config.json, safetensors and a tokenizer."
        ),
    ] = None,
    edits: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Git repository, or folder of releases (PACKAGE/VERSION/); the changes are the edits of the suite "
            "next-edit.",
        ),
    ] = None,
    without_reading: Annotated[
        bool,
        typer.Option(
            "--without-reading", help="next-edit: show every proposal, without a model that reads the proposals."
        ),
    ] = False,
    without_diff: Annotated[
        bool, typer.Option("--without-diff", help="next-edit: let the model read each place without the user's edit.")
    ] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for records, results.json and report.html.")] = Path(
        "evaluation"
    ),
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum questions per suite or windows per text, a fixed random choice; with --like-llama the first "
            "windows. For next-edit, the edits with proposals that the model reads; by default 140.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers per humaneval problem.")] = 1,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.0, help="Sampling temperature of humaneval's answers; 0 always picks the most probable token."
        ),
    ] = 0.0,
    window: Annotated[
        int | None, typer.Option(min=8, help="Tokens per perplexity window; by default 1024, with --like-llama 512.")
    ] = None,
    like_llama: Annotated[
        bool, typer.Option("--like-llama", help="Compute perplexity as llama-perplexity does, for comparison.")
    ] = False,
    run_code: Annotated[
        bool,
        typer.Option(
            "--run-code",
            help="Run the models' programs and their tests with limits, but without a real sandbox. On Linux with "
            "Landlock they read only Python's files and the system's libraries; elsewhere they have your file "
            "permissions (root's run as nobody).",
        ),
    ] = False,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Evaluate a model on a Pellucid or OpenAI-compatible server.")
    ] = None,
    api_key: ServerKey = None,
    api_key_file: ApiKeyFile = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A B", help="Compare the results of two folders without running anything."),
    ] = None,
    json: Json = False,
) -> None:
    """Run benchmarks on models, and report the figures with their intervals.

    Data comes from the paths that you name. Models' programs run only with --run-code. To resume an
    interrupted run, repeat the command.
    """
    if compare is not None:
        compare_results(*compare, json=json, other_arguments=bool(models or suite))
        return
    if not models:
        raise typer.BadParameter("name at least one model.", param_hint="MODEL")
    from pellucid.config import load_settings

    # The prefixes of these prompts are useless for later starts.
    settings = load_settings(prefix_memory=0, api_key=api_key, api_key_file=api_key_file)
    warn_of_visible_key(api_key)
    key = (
        settings.key if server is None or api_key is not None or api_key_file is not None else settings.key_for(server)
    )
    with needing("learn"):
        from pellucid.learn.evaluate import command
        from pellucid.learn.evaluate.registry import EvaluateOptions, chosen_names
        from pellucid.learn.evaluate.suites.humaneval import HumanEvalSampling
    options = EvaluateOptions(
        suites=chosen_names(suite or []),
        data=data,
        text=text,
        references=references,
        encoder=encoder,
        edits=edits,
        with_reading=not without_reading,
        with_diff=not without_diff,
        limit=limit,
        window=window,
        like_llama=like_llama,
        run_code=run_code,
        sampling=HumanEvalSampling(samples, temperature),
    )
    with resumable():
        command.evaluate(models, options, command.ModelSource(settings, server, key), out, as_json=json)


def compare_results(first: Path, second: Path, *, json: bool, other_arguments: bool) -> None:
    if other_arguments:
        raise typer.BadParameter("cannot be combined with models or suites.", param_hint="--compare")
    with needing("learn"):
        from pellucid.learn.evaluate.command import compare_folders
    compare_folders(first, second, as_json=json)
