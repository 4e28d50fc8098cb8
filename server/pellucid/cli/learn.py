"""The commands that learn and judge. Like those of cli.py they import nothing heavy until one of them runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.api_key_option import VISIBLE, ApiKeyFile, warn_of_visible_key
from pellucid.errors import ConfigError, InvalidRequestError

learning = typer.Typer(rich_markup_mode=None)
suggestions_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
learning.add_typer(suggestions_app, name="suggestions", help="The log of what became of suggestions, where an editor keeps one.")


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Say in one sentence which extra is to be installed where one of its libraries is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"This needs {error.name}: run pip install '.[{extra}]' in Pellucid's folder.") from error


@contextmanager
def resumable() -> Iterator[None]:
    """Say where Ctrl-C breaks work off that nothing of it is lost."""
    try:
        yield
    except KeyboardInterrupt:
        from pellucid.cli.ask import INTERRUPTED

        sys.stderr.write("Broken off: the same command goes on from here.\n")
        raise typer.Exit(INTERRUPTED) from None


@learning.command(epilog="Example: pellucid review leap --model smollm2-135m-instruct --model qwen2.5-coder-0.5b-instruct --prompts q.txt")
def review(
    name: Annotated[str | None, typer.Argument(help="The review; without a name all of them are listed.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="What answers: give two, or the same one twice with --temperature.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Makes the review: a prompt a line, or JSON lines with a prompt.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the most probable token.")] = 0.0,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same tokens.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare two models' answers blind: people judge on the page, tab Review; then this tells the win rate and their agreement.

    With --prompts and two models the review is made; without, what came of it is told.
    """
    from pellucid.config import load_settings

    with needing("learn"):
        from pellucid.learn.review import command

    settings = load_settings()
    if prompts is not None:
        if name is None:
            raise InvalidRequestError("The review needs a name: pellucid review NAME --model A --model B --prompts FILE.")
        from pellucid.cli.ask import sampling

        command.make(settings, name, model or (), prompts, sampling(max_tokens, temperature, 1.0, 0, 0.0, seed, 0))
    elif model:
        raise InvalidRequestError("Models answer prompts: give --prompts FILE as well.")
    elif name is None:
        command.list_reviews(settings)
    else:
        command.tell(settings, name, json=json)


class PresetName(StrEnum):
    """How large a trained model is, by the machine that it is trained on."""

    CPU = "cpu"
    GPU = "gpu"


class TokenizerKind(StrEnum):
    """What a trained model reads."""

    BYTES = "bytes"
    BPE = "bpe"
    UNIGRAM = "unigram"


@learning.command(epilog="Example: pellucid train notes/ book.txt --out run, and then: pellucid serve --model run/gpt")
def train(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders of text or code.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the models, the plan, the curves and the table.")],
    preset: Annotated[PresetName, typer.Option(help="Size of the model: cpu is made for two cores and five minutes.")] = PresetName.CPU,
    tokenizer: Annotated[TokenizerKind | None, typer.Option(help="What the GPT reads; the preset's if not given.")] = None,
    vocab: Annotated[int | None, typer.Option(help="Pieces that bpe or unigram has.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.1, help="About how long all of it may take; fewer steps are made then.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Most steps of the GPT.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The same seed and steps give the same weights.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a tiny GPT on any text, beside an n-gram model and a logistic regression on the same bytes, and compare them.

    All three become folders of models that serve, complete and score as any other. A run that was broken off goes on when the same
    command is given again.
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
    path: Annotated[Path, typer.Argument(help="Folder of source files like those that are completed.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Catalog name, hub id, folder or .gguf file.")] = None,
    cursors: Annotated[int, typer.Option(min=1, help="Places to ask at, with the text behind and without; 50 or more.")] = 400,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the calibration here; editors then do not use it.")] = None,
    records: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to keep the replay; a run goes on from it.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw what was found into this file.")] = None,
    with_log: Annotated[bool, typer.Option("--with-log", help="Learn from the log of suggestions as well.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find out how far a model's suggestions can be trusted, so that editors show those that are probably right.

    Suggestions are asked for all over the files and compared with what these say, without pieces of other files and without the
    time limit that editors have: with them an editor's suggestions may be right more or less often than is said. It is fitted on
    some files and measured on others. Minutes to an hour on a CPU; a run that is broken off goes on where it was.
    """
    from pellucid.config import load_settings

    settings = load_settings(models=None if model is None else (model,))
    with needing("learn"):
        from pellucid.learn.calibrate.command import CalibrateOptions
        from pellucid.learn.calibrate.command import calibrate as run
    with resumable():
        run(settings, CalibrateOptions(path, cursors, out, records, plot, with_log, json))


Data = Annotated[Path | None, typer.Option(help="The data folder that the log is in.")]


@suggestions_app.command("export", epilog="Example: pellucid suggestions export suggestions.jsonl")
def export_suggestions(
    file: Annotated[Path, typer.Argument(help="File to write, a line of JSON for each suggestion.")], data: Data = None
) -> None:
    """Write the log of suggestions into a file."""
    from pellucid.cli import suggestion_log_commands

    suggestion_log_commands.export(file, data)


@suggestions_app.command("delete", epilog="Example: pellucid suggestions delete")
def delete_suggestions(data: Data = None) -> None:
    """Delete the log of suggestions."""
    from pellucid.cli import suggestion_log_commands

    suggestion_log_commands.delete(data)


@learning.command(epilog="Example: pellucid finetune ~/project --name project --dry-run, and then without --dry-run")
def finetune(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of the repository.")],
    name: Annotated[str, typer.Option(help="What to call the adapter.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Catalog name, hub id, folder or .gguf file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what it would cost, and make no adapter.")] = False,
    minutes: Annotated[float, typer.Option(min=0.1, help="Most minutes of training; judging before and after comes on top.")] = 20.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training, however long they take; else three passes.")] = None,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the adapter's matrices.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same samples and the same start.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the adapter that has this name.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder with HumanEval's infilling problems, to see what is forgotten of them.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads to compute with; 0 takes one for each physical core.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of fetched models and of adapters.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tune a model to a repository by a low-rank adapter, and show on files that were held out what that is worth.

    A run that is broken off goes on where it was when it is started again with the same words. The model itself is not changed.
    """
    from pellucid.config import load_settings

    settings = load_settings(device=device, threads=threads, cache=cache)
    with needing("learn"):
        from pellucid.learn.finetune.command import finetune as run
        from pellucid.learn.finetune.pipeline import FinetuneOptions
    options = FinetuneOptions(
        path, model or settings.models[0], name, minutes=minutes, steps=steps, rank=rank, seed=seed, replace=replace, data=data
    )
    with nullcontext() if dry_run else resumable():
        run(settings, options, dry_run=dry_run, json=json)


SUITES = "perplexity, infilling, humaneval, unknown-names, text, truthfulqa, crows-pairs, winogender, speed"


@learning.command(
    epilog="Example: pellucid evaluate smollm2-135m-instruct --suite perplexity,infilling --text notes.txt --data benchmarks --out results"
)
def evaluate(
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL...", help="Catalog name, hub id, folder or .gguf file.")] = None,
    suite: Annotated[list[str] | None, typer.Option(metavar="S,...", help=f"What to ask: {SUITES}.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the files of benchmarks lie; nothing is fetched.")] = None,
    text: Annotated[Path | None, typer.Option(metavar="PATH", help="File or folder that perplexity reads.")] = None,
    references: Annotated[Path | None, typer.Option(metavar="FILE", help='JSON lines for text: {"prompt", "reference"}.')] = None,
    encoder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Encoder for BERTScore: config.json, safetensors, tokenizer.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where records, results.json and report.html go.")] = Path("evaluation"),
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most questions of a suite, windows of a text: a fixed draw; like llama the first ones.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each problem of humaneval.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="With which humaneval's answers are drawn; 0 takes the best token.")] = 0.0,
    window: Annotated[int | None, typer.Option(min=8, help="Tokens that perplexity reads together: 1024, like llama 512.")] = None,
    like_llama: Annotated[bool, typer.Option("--like-llama", help="Read as llama-perplexity does, to compare with it.")] = False,
    run_code: Annotated[
        bool,
        typer.Option(
            "--run-code",
            help="Run the models' programs with their tests, limited, in no real sandbox. On Linux with Landlock they read Python's files "
            "and the system's libraries only; elsewhere they have your rights over files (root: nobody's).",
        ),
    ] = False,
    server: Annotated[str | None, typer.Option(metavar="URL", help="Ask a Pellucid or OpenAI-compatible server instead.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(help=f"Key of that server. The settings' key goes only to the server that they name. {VISIBLE}"),
    ] = None,
    api_key_file: ApiKeyFile = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="A B", help="Compare the results of two folders; asks nothing.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask models the questions of benchmarks and report the figures with their intervals; a run that was killed goes on.

    Data comes from paths that you name. Models' programs run only with --run-code.
    """
    if compare is not None:
        if models or suite:
            raise typer.BadParameter("it takes neither models nor suites.", param_hint="--compare")
        with needing("learn"):
            from pellucid.learn.evaluate.command import compare_folders
        compare_folders(*compare, as_json=json)
        return
    if not models:
        raise typer.BadParameter("name at least one.", param_hint="MODEL")
    from pellucid.config import load_settings

    # What is asked here is of no use to the next start.
    settings = load_settings(prefix_memory=0, api_key=api_key, api_key_file=api_key_file)
    warn_of_visible_key(api_key)
    key = settings.key if server is None or api_key is not None or api_key_file is not None else settings.key_for(server)
    with needing("learn"):
        from pellucid.learn.evaluate import command
        from pellucid.learn.evaluate.registry import EvaluateOptions, chosen_names
        from pellucid.learn.evaluate.suites.humaneval import HumanEvalSampling
    options = EvaluateOptions(
        chosen_names(suite or []),
        data,
        text,
        references,
        encoder,
        limit,
        window,
        like_llama,
        run_code,
        HumanEvalSampling(samples, temperature),
    )
    with resumable():
        command.evaluate(models, options, command.ModelSource(settings, server, key), out, as_json=json)
