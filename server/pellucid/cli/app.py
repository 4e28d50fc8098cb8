"""The command line.

Heavy imports happen inside commands, so that ``pellucid --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pellucid.cli.adapter_commands import adapters_app
from pellucid.cli.api_key_option import VISIBLE, ApiKeyFile, warn_of_visible_key
from pellucid.cli.engine_commands import engines_app
from pellucid.cli.learn import learning
from pellucid.cli.settings_options import given_settings, settings_command
from pellucid.client.address_settings import DEFAULT_HOST, PAGE_PORT
from pellucid.errors import ConfigError, PellucidError
from pellucid.vocabulary.query import Effort, Reasoning

HEAVY = "Commands that need a model use a running server, if any; otherwise the commands load the model and say so."


class App(typer.Typer):
    """A typer application that prints Pellucid's errors as one sentence and exits with code 1.

    Wrong usage exits with code 2.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if sys.platform == "win32":
            for stream in (sys.stdin, sys.stdout):  # The system's encoding of pipes lacks most characters.
                cast("TextIOWrapper", stream).reconfigure(encoding="utf-8")
        try:
            return super().__call__(*args, **kwargs)
        except PellucidError as error:
            typer.echo(f"pellucid: {error}", err=True)
            sys.exit(1)
        except ModuleNotFoundError as error:
            if error.name not in ("torch", "transformers"):
                raise
            typer.echo(f'pellucid: This command needs {error.name}: run pip install "pellucid[torch]".', err=True)
            sys.exit(1)
        except BrokenPipeError:
            # The reader of the output has closed the pipe (head, less); the rest is discarded at
            # exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


app = App(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A local code-completion and chat server that you can see through: every token comes with its probability. "
    f"{HEAVY}",
)
models_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models_app, name="models", help="List, recommend, download, show and remove models.")
app.add_typer(adapters_app, name="adapters", help="List, load, unload, merge and remove LoRA adapters.")
app.add_typer(
    engines_app, name="engines", help="List, add and remove the remote engines that compute a server's models."
)
app.add_typer(learning)

ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="Catalog name, hub id, folder (./NAME) or .gguf file.")
]
MaxTokens = Annotated[int, typer.Option(min=0, help="Maximum number of tokens to generate.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 always picks the most probable token.")]
TopP = Annotated[float, typer.Option(help="Sample from the most probable tokens, up to this total probability.")]
TopK = Annotated[int, typer.Option(min=0, help="Sample from this many of the most probable tokens; 0: all.")]
MinP = Annotated[
    float,
    typer.Option(help="Exclude tokens less probable than this fraction of the most probable token's probability."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of the sampler; the same seed gives the same tokens.")]
TopLogprobs = Annotated[
    int, typer.Option(min=0, max=20, help="Number of alternatives per token in the --json records.")
]
JsonSchema = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, metavar="FILE", help="A JSON schema that the answer must match."),
]
Regex = Annotated[
    str | None, typer.Option(metavar="PATTERN", help="A regular expression that the whole answer must match.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON record per line: each token, then the finish reason.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from pellucid.system.installed_version import installed_version

        typer.echo(f"pellucid {installed_version()}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(
    cls=settings_command(),
    epilog="Example: pellucid serve --model qwen2.5-coder-0.5b-instruct --port 8437 --context 16384",
)
def serve(context: typer.Context) -> None:
    """Serve models over HTTP, by default on 127.0.0.1:8437.

    Every option is also a PELLUCID_ environment variable and a line of config.toml; pellucid doctor
    shows the source of each value.
    """
    from pellucid.config import load_settings

    given = given_settings(context)
    settings = load_settings(**given)
    warn_of_visible_key(given.get("api_key"))
    from pellucid.serving.serve import run

    run(settings)


@app.command(epilog="Example: pellucid complete server.py --at 42:9")
def complete(
    file: Annotated[Path, typer.Argument(help="The file to complete; - for standard input.")],
    at: Annotated[
        str | None,
        typer.Option(metavar="LINE:COL", help="Cursor position, counted from 1; by default the end of the file."),
    ] = None,
    model: ModelOption = None,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    seed: Seed = None,
    json_schema: JsonSchema = None,
    regex: Regex = None,
    top_logprobs: TopLogprobs = 0,
    json: Json = False,
) -> None:
    """Complete a file at a cursor from the text around it, until the model ends the answer.

    Unlike an editor's suggestion, the answer is not cut at the end of the scope or before a
    repetition of the text below.
    """
    from pellucid.cli import complete_chat_score

    text = complete_chat_score.read_text(file, or_stdin=True)
    try:
        offset = complete_chat_score.offset_of(text, at)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error
    params = complete_chat_score.sampling(max_tokens, temperature, top_p, top_k, min_p, seed, top_logprobs)
    grammar = complete_chat_score.answer_grammar(json_schema, regex)
    complete_chat_score.complete(text[:offset], text[offset:], params, grammar, model, json)


@app.command(epilog='Example: pellucid chat "Write a Python function that reverses a string." --temperature 0.7')
def chat(
    message: Annotated[
        str | None, typer.Argument(help="The message; without a message, type a message in each turn.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="A picture to send with the first message, to a model that sees images; repeatable.",
        ),
    ] = None,
    model: ModelOption = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    seed: Seed = None,
    json_schema: JsonSchema = None,
    regex: Regex = None,
    reasoning: Annotated[
        Effort | None, typer.Option(help="Let the model reason before each answer, with this effort.")
    ] = None,
    top_logprobs: TopLogprobs = 0,
    json: Json = False,
) -> None:
    """Chat with a model. Ctrl-C stops an answer, Ctrl-D exits."""
    from pellucid.cli import complete_chat_score

    params = complete_chat_score.sampling(max_tokens, temperature, top_p, top_k, min_p, seed, top_logprobs)
    grammar = complete_chat_score.answer_grammar(json_schema, regex)
    wish = None if reasoning is None else Reasoning(reasoning)
    complete_chat_score.chat(message, system, params, grammar, wish, model, json, image or ())


@app.command(epilog='Example: pellucid edit server.py "Add type hints." --lines 10:24')
def edit(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file to change.")],
    instruction: Annotated[str, typer.Argument(help="The change, in your own words.")],
    lines: Annotated[
        str | None, typer.Option(metavar="A:B", help="The lines to change, counted from 1; by default all lines.")
    ] = None,
    model: ModelOption = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0.0, help="0 always picks the most probable token; the default is 0.7 with a seed, else 0."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="A different seed perhaps gives a different edit.")] = None,
    top_logprobs: TopLogprobs = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write the file without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the edit without writing the file.")] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON record per line: new lines, then the edit. The file is written only with --yes.",
        ),
    ] = False,
) -> None:
    """Change lines of a file by an instruction: show the diff, ask, and write.

    Hunks that break the file's syntax are named, and --yes writes nothing then. The exit code is 1
    in this case, and if the model changed nothing.
    """
    from pellucid.cli import complete_chat_score, edit_file
    from pellucid.completion.edits.by_instruction.edit_query import EditQuery

    if yes and dry_run:
        raise typer.BadParameter(
            "--yes writes the file and --dry-run does not: use only one of them.", param_hint="--dry-run"
        )
    if top_logprobs and not json:
        raise typer.BadParameter(
            "alternative tokens are printed only with --json: add it.", param_hint="--top-logprobs"
        )
    text = complete_chat_score.read_text(file).removeprefix(edit_file.MARK)
    try:
        begin, end = edit_file.lines_of(text, lines)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--lines") from error
    query = EditQuery(
        text[:begin],
        text[begin:end],
        text[end:],
        instruction,
        path=file.name,
        seed=seed,
        temperature=temperature,
        top_logprobs=top_logprobs,
    )
    edit_file.edit_lines(file, text, (begin, end), query, model, yes=yes, dry_run=dry_run, as_json=json)


@app.command(epilog='Example: pellucid commit --edit, in a repository after "git add"')
def commit(
    alternatives: Annotated[
        int, typer.Option(min=1, max=9, help="Number of different messages to print, the likeliest first.")
    ] = 1,
    model: ModelOption = None,
    edit: Annotated[
        bool, typer.Option("--edit", help="Begin a commit: git opens your editor with the message.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a commit message of one line for the staged changes of the current repository.

    Ignored and private files are not read, and a long diff is cut; sentences on stderr say so.
    """
    from pellucid.cli.commit_message import write_messages

    if edit and (json or alternatives > 1):
        raise typer.BadParameter("--edit takes a single message: omit --json and --alternatives.", param_hint="--edit")
    write_messages(alternatives, model, edit=edit, as_json=json)


@app.command(epilog="Example: pellucid score server.py --top-logprobs 5 --json")
def score(
    file: Annotated[Path, typer.Argument(help="The text to read; - for standard input.")],
    model: ModelOption = None,
    top_logprobs: TopLogprobs = 0,
    windows: Annotated[
        bool, typer.Option("--windows", help="Read a text longer than the context, in overlapping windows.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the probability of each token of a file: colours in a terminal, figures with --json."""
    from pellucid.cli import complete_chat_score

    complete_chat_score.score(
        complete_chat_score.read_text(file, or_stdin=True), top_logprobs, model, json, windows=windows
    )


@app.command(epilog="Example: pellucid doctor --json")
def doctor(json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Report on this machine's Python, device, kernels, memory, models, settings and port."""
    from pellucid.cli.doctor import report

    report(as_json=json)


@app.command(
    cls=settings_command("device", "quant", "context", "kv_cache", "threads"),
    epilog="Example: pellucid bench --json > before.json, and later: pellucid bench --compare before.json",
)
def bench(
    context: typer.Context,
    model: ModelOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Run two rounds instead of five.")] = False,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Earlier --json output to compare with: show both figures and their ratio."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw a chart of the results into this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model's speed on this machine against the machine's limits; this takes minutes.

    Measures prefill, decode, the wait for the first token, several streams, typing in an editor,
    memory and start-up. Lengths that exceed --context are skipped. The model is loaded in this
    process even if a server runs; the default is the first model of the settings.
    """
    from pellucid.config import load_settings

    settings = load_settings(models=None if model is None else (model,), **given_settings(context))
    from pellucid.bench.command import bench as measure

    measure(settings, quick=quick, json=json, compare_with=compare, plot=plot)


Name = Annotated[str, typer.Argument(help="Catalog name, or org/name[:quant][@revision] on the Hugging Face hub.")]


class Dialect(StrEnum):
    """The language server with a protocol different from the standard protocol."""

    COPILOT = "copilot"


def _version_number(wanted: bool) -> None:
    if wanted:
        from pellucid.system.installed_version import installed_version

        typer.echo(installed_version())
        raise typer.Exit


@app.command(epilog="Example, in an editor's settings: pellucid lsp")
def lsp(
    tcp: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="PORT", help="Listen on this port of 127.0.0.1 instead.")
    ] = None,
    stdio: Annotated[
        bool,
        typer.Option("--stdio", help="Use stdin and stdout; the default, accepted for clients that pass the option."),
    ] = False,
    dialect: Annotated[
        Dialect | None,
        typer.Option(
            "--as",
            help="Speak the protocol of a different server; copilot: the protocol of the Copilot language server, for "
            "editors' plugins.",
        ),
    ] = None,
    node_ipc: Annotated[
        bool, typer.Option("--node-ipc", help="Not supported: a channel between Node.js processes.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version_number, is_eager=True, help="Print only the number of the version."
        ),
    ] = False,
) -> None:
    """Run the language server for an editor, on stdin and stdout."""
    if node_ipc:
        raise ConfigError("--node-ipc is a channel between Node.js processes, which Pellucid is not: use --stdio.")
    if stdio and tcp is not None:
        raise typer.BadParameter("cannot be combined with --stdio.", param_hint="--tcp")
    from pellucid_lsp.run_language_server import run

    try:
        run(tcp, copilot=dialect is Dialect.COPILOT)
    except ModuleNotFoundError as error:
        raise ConfigError(f'The language server needs {error.name}: run pip install "pellucid[lsp]".') from error


@app.command(epilog="Example: pellucid webui --server http://192.168.0.7:8437 --api-key-file key.txt")
def webui(
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="URL of the server; by default the URL in the settings.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any address other than loopback requires an API key.")
    ] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = PAGE_PORT,
    api_key: Annotated[
        str | None,
        typer.Option(
            help="API key of the server; users must also enter the key on the page. The key in the settings is sent "
            f"only to the server in the settings. {VISIBLE}"
        ),
    ] = None,
    api_key_file: ApiKeyFile = None,
    data: Annotated[Path | None, typer.Option(help="Folder for the page's conversations.")] = None,
) -> None:
    """Serve only the page, without a model, for a server that runs elsewhere."""
    from pellucid.config import load_settings

    settings = load_settings(api_key=api_key, api_key_file=api_key_file, data=data)
    warn_of_visible_key(api_key)
    from pellucid.serving.page_only_server import run

    run(
        settings,
        (server or settings.url).rstrip("/"),
        host,
        port,
        key_is_for_url=api_key is not None or api_key_file is not None,
    )


@models_app.command("list", epilog="Example: pellucid models list --json")
def list_models(json: Annotated[bool, typer.Option("--json", help="Print a JSON array of models.")] = False) -> None:
    """List the models in the catalog and on this machine: size, memory, speed and licence."""
    from pellucid.cli import model_commands

    model_commands.show_all(as_json=json)


@models_app.command(epilog="Example: pellucid models recommend")
def recommend() -> None:
    """Estimate the speed of each catalog model on this machine, and recommend a model.

    Nothing is downloaded. It takes a few minutes; then `pellucid models list` shows the speeds.
    """
    from pellucid.cli import model_commands

    model_commands.recommend()


@models_app.command(epilog="Example: pellucid models pull qwen2.5-coder-0.5b-instruct smollm2-135m-instruct")
def pull(
    names: Annotated[
        list[str], typer.Argument(help="Catalog names, or org/name[:quant][@revision] of the Hugging Face hub.")
    ],
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the terms of models that have terms: read the terms first.")
    ] = False,
) -> None:
    """Download models that are not on this machine yet; an interrupted download resumes."""
    from pellucid.cli import model_commands

    model_commands.pull(names, accepts_terms=accept_terms)


@models_app.command(epilog="Example: pellucid models show qwen2.5-coder-0.5b-instruct --verify")
def show(
    name: Name,
    verify: Annotated[bool, typer.Option("--verify", help="Read and verify the model's files again.")] = False,
) -> None:
    """Show a model's sources, size, licence, checksum and location."""
    from pellucid.cli import model_commands

    model_commands.show(name, verify=verify)


@models_app.command(epilog="Example: pellucid models load smollm2-135m-instruct")
def load(name: Name) -> None:
    """Load a model into the running server, which unloads other models if memory is short."""
    from pellucid.cli import model_commands

    model_commands.load(name)


@models_app.command(epilog="Example: pellucid models unload smollm2-135m-instruct")
def unload(name: Name) -> None:
    """Unload a model from the running server; running answers finish.

    The next request for the model loads it again.
    """
    from pellucid.cli import model_commands

    model_commands.unload(name)


@models_app.command(epilog="Example: pellucid models export qwen2.5-coder-0.5b-instruct ./coder")
def export(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="Folder to write; the folder must not exist.")],
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
) -> None:
    """Write a model to a folder as ordinary safetensors, for vLLM and the transformers library."""
    from pellucid.cli import model_commands

    model_commands.export(name, folder, dtype)


@models_app.command(epilog="Example: pellucid models remove smollm2-135m-instruct")
def remove(names: Annotated[list[str], typer.Argument(help="Models to delete from this machine.")]) -> None:
    """Delete models from this machine, with their packed weights and saved prompts."""
    from pellucid.cli import model_commands

    model_commands.remove(names)
