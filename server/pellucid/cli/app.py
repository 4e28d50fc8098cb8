"""The command line. It imports nothing heavy until a command runs, so that ``pellucid --help`` answers at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pellucid.cli.adapters import adapters_app
from pellucid.cli.api_key_option import VISIBLE, ApiKeyFile, warn_of_visible_key
from pellucid.cli.learn import learning
from pellucid.client.server_address import DEFAULT_HOST, PAGE_PORT
from pellucid.errors import ConfigError, PellucidError

HEAVY = "Commands that think use a running server where there is one; else they load the model themselves and say so."


class App(typer.Typer):
    """A typer application that tells our own errors in one sentence: exit code 1; wrong usage exits with 2."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        try:
            return super().__call__(*args, **kwargs)
        except PellucidError as error:
            typer.echo(f"pellucid: {error}", err=True)
            sys.exit(1)
        except BrokenPipeError:
            # Whoever read our output has enough of it (head, less); what is left to flush at exit goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


app = App(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=f"A local code-completion and chat server that you can see through: every token with its probability. {HEAVY}",
)
models_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models_app, name="models", help="List, fetch, show and remove models.")
app.add_typer(adapters_app, name="adapters", help="List, load, unload, merge and remove LoRA adapters.")
app.add_typer(learning)

ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Catalog name, hub id, folder (./NAME) or .gguf file.")]
MaxTokens = Annotated[int, typer.Option(min=0, help="Most tokens to generate.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 takes the most probable token.")]
TopP = Annotated[float, typer.Option(help="Sample from the most probable tokens that hold this much of the probability.")]
TopK = Annotated[int, typer.Option(min=0, help="Sample from this many of the most probable tokens; 0 for all.")]
MinP = Annotated[float, typer.Option(help="Leave out tokens less probable than this part of the best one's probability.")]
Seed = Annotated[int | None, typer.Option(min=0, help="The same seed gives the same tokens.")]
TopLogprobs = Annotated[int, typer.Option(min=0, max=20, help="Alternatives with each token, in the --json records.")]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON record a line: every token, and how it ended.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            typer.echo(f"pellucid {metadata.version('pellucid')}")
        except metadata.PackageNotFoundError:
            typer.echo("pellucid (not installed: it runs from its source folder)")
        raise typer.Exit


@app.callback()
def _main(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    pass


@app.command(epilog="Example: pellucid serve --model qwen2.5-coder-0.5b-instruct --port 8437 --context 16384")
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Catalog name, hub id, folder (./NAME) or .gguf file, or NAME@int4; may be given several times."
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None, typer.Option("--adapter", help="LoRA adapter to serve, by its name or folder; may be given several times.")
    ] = None,
    adapter_slots: Annotated[int | None, typer.Option(help="Sequences that run at the same time, for each adapter.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; any but loopback demands an API key.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    quant: Annotated[str | None, typer.Option(help="How weights are held: auto, none, int8 or int4.")] = None,
    context: Annotated[int | None, typer.Option(help="Most tokens of one sequence.")] = None,
    slots: Annotated[int | None, typer.Option(help="Sequences that run at the same time, for each model.")] = None,
    chunk: Annotated[int | None, typer.Option(help="Most tokens computed in one step; 0 for what suits the device.")] = None,
    infill_window: Annotated[int | None, typer.Option(help="Most tokens that /infill reads; 0 for as many as fit.")] = None,
    lookup: Annotated[
        bool | None, typer.Option("--lookup/--no-lookup", help="Whether tokens are guessed from what stood before, and checked together.")
    ] = None,
    queue: Annotated[int | None, typer.Option(help="Requests that may wait for a slot.")] = None,
    prefix_memory: Annotated[int | None, typer.Option(help="Host memory for prompts that lost their slot, in MiB; 0 for none.")] = None,
    prefix_save: Annotated[
        bool | None,
        typer.Option("--prefix-save/--no-prefix-save", help="Whether prompts are saved in the cache folder for the next start."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help=f"Key that every request must bring; NAME:KEY,... for several users. {VISIBLE}")
    ] = None,
    api_key_file: ApiKeyFile = None,
    allowed_origins: Annotated[str | None, typer.Option(help="Web origins whose pages may call, separated by commas.")] = None,
    trusted_proxies: Annotated[str | None, typer.Option(help="Reverse proxies whose X-Forwarded-For is believed, by address.")] = None,
    max_body_bytes: Annotated[int | None, typer.Option(help="Largest request body.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of fetched and packed models.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the conversations held on the page.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads to compute with; 0 takes one for each physical core.")] = None,
    grace: Annotated[int | None, typer.Option(help="Seconds that running answers get when the server stops.")] = None,
    idle_exit: Annotated[int | None, typer.Option(help="Seconds without a request after which the server leaves; 0 for never.")] = None,
    page: Annotated[bool | None, typer.Option("--page/--no-page", help="Whether there is a page for people at /.")] = None,
    log_level: Annotated[str | None, typer.Option(help="error, warning, info or debug.")] = None,
) -> None:
    """Serve models over HTTP, on 127.0.0.1:8437 unless told otherwise.

    Every option is also a PELLUCID_ environment variable and a line of config.toml; pellucid doctor shows which one holds.
    """
    from pellucid.config import load_settings

    settings = load_settings(
        models=tuple(model) if model else None,
        adapters=tuple(adapter) if adapter else None,
        adapter_slots=adapter_slots,
        host=host,
        port=port,
        device=device,
        quant=quant,
        context=context,
        slots=slots,
        chunk=chunk,
        infill_window=infill_window,
        lookup=lookup,
        queue=queue,
        prefix_memory=prefix_memory,
        prefix_save=prefix_save,
        api_key=api_key,
        api_key_file=api_key_file,
        allowed_origins=allowed_origins,
        trusted_proxies=trusted_proxies,
        max_body_bytes=max_body_bytes,
        cache=cache,
        data=data,
        threads=threads,
        grace=grace,
        idle_exit=idle_exit,
        page=page,
        log_level=log_level,
    )
    warn_of_visible_key(api_key)
    from pellucid.serving.serve import run

    run(settings)


@app.command(epilog="Example: pellucid complete server.py --at 42:9")
def complete(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file to complete.")],
    at: Annotated[str | None, typer.Option(metavar="LINE:COL", help="Where, counted from 1 as editors do; the end if not given.")] = None,
    model: ModelOption = None,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    seed: Seed = None,
    top_logprobs: TopLogprobs = 0,
    json: Json = False,
) -> None:
    """Complete a file at a place: what stands after it is seen as well. It goes on as long as the model does."""
    from pellucid.cli import ask

    text = ask.read_text(file)
    try:
        offset = ask.offset_of(text, at)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error
    params = ask.sampling(max_tokens, temperature, top_p, top_k, min_p, seed, top_logprobs)
    ask.complete(text[:offset], text[offset:], params, model, json)


@app.command(epilog='Example: pellucid chat "Write a Python function that reverses a string." --temperature 0.7')
def chat(
    message: Annotated[str | None, typer.Argument(help="What to say; without it you are asked, turn by turn.")] = None,
    system: Annotated[str | None, typer.Option(help="What the model is told before the first message.")] = None,
    model: ModelOption = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    seed: Seed = None,
    top_logprobs: TopLogprobs = 0,
    json: Json = False,
) -> None:
    """Chat with a model. Ctrl-C stops an answer, Ctrl-D leaves."""
    from pellucid.cli import ask

    params = ask.sampling(max_tokens, temperature, top_p, top_k, min_p, seed, top_logprobs)
    ask.chat(message, system, params, model, json)


@app.command(epilog="Example: pellucid score server.py --top-logprobs 5 --json")
def score(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The text to read.")],
    model: ModelOption = None,
    top_logprobs: TopLogprobs = 0,
    json: Json = False,
) -> None:
    """Read a file and show how probable each of its tokens was."""
    from pellucid.cli import ask

    ask.score(ask.read_text(file), top_logprobs, model, json)


@app.command(epilog="Example: pellucid doctor --json")
def doctor(json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Show what Pellucid finds on this machine: Python, device, kernels, memory, models, settings, port."""
    from pellucid.cli.doctor import report

    report(as_json=json)


@app.command(epilog="Example: pellucid bench --json > before.json, and later: pellucid bench --compare before.json")
def bench(
    model: ModelOption = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    quant: Annotated[str | None, typer.Option(help="How weights are held: auto, none, int8 or int4.")] = None,
    context: Annotated[int | None, typer.Option(help="Most tokens of one sequence; what does not fit is left out.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads to compute with; 0 takes one for each physical core.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two rounds in place of five.")] = False,
    compare: Annotated[Path | None, typer.Option(metavar="FILE", help="What --json wrote before: show then, now and their ratio.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the figures into this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure how fast a model is on this machine, in minutes, and how far that is from what the machine could do.

    Prefill, decode, waiting for the first token, several streams, typing in an editor, memory and start. The model is loaded here,
    whatever server runs; the default is the first one of the settings.
    """
    from pellucid.config import load_settings

    models = None if model is None else (model,)
    settings = load_settings(models=models, device=device, quant=quant, context=context, threads=threads)
    from pellucid.bench.command import bench as measure

    measure(settings, quick=quick, json=json, compare_with=compare, plot=plot)


Name = Annotated[str, typer.Argument(help="Catalog name, or org/name[@revision] of the Hugging Face hub.")]


@app.command(epilog="Example, in an editor's settings: pellucid lsp")
def lsp(
    tcp: Annotated[int | None, typer.Option(min=1, max=65535, metavar="PORT", help="Listen on this port of 127.0.0.1 instead.")] = None,
    stdio: Annotated[bool, typer.Option("--stdio", help="Speak on stdin and stdout; the default, for clients that say so.")] = False,
) -> None:
    """Complete code in an editor: a language server, for one editor, on stdin and stdout."""
    if stdio and tcp is not None:
        raise typer.BadParameter("it is either this or --stdio.", param_hint="--tcp")
    from pellucid_lsp.start import run

    try:
        run(tcp)
    except ModuleNotFoundError as error:
        raise ConfigError(f"The language server needs {error.name}: run pip install '.[lsp]' in Pellucid's folder.") from error


@app.command(epilog="Example: pellucid webui --server http://192.168.0.7:8437 --api-key-file key.txt")
def webui(
    server: Annotated[str | None, typer.Option(metavar="URL", help="The server to ask; where the settings say if not given.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback demands an API key.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = PAGE_PORT,
    api_key: Annotated[
        str | None,
        typer.Option(help=f"Key of the server, which the page asks for as well. The settings' key goes only to their server. {VISIBLE}"),
    ] = None,
    api_key_file: ApiKeyFile = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the conversations held on the page.")] = None,
) -> None:
    """Show the page alone, without a model, for a server that runs elsewhere."""
    from pellucid.config import load_settings

    settings = load_settings(api_key=api_key, api_key_file=api_key_file, data=data)
    warn_of_visible_key(api_key)
    from pellucid.serving.page_process import run

    run(settings, (server or settings.url).rstrip("/"), host, port, key_is_for_url=api_key is not None or api_key_file is not None)


@models_app.command("list", epilog="Example: pellucid models list")
def list_models() -> None:
    """List the models of the catalog and those on this machine."""
    from pellucid.cli import model_commands

    model_commands.show_all()


@models_app.command(epilog="Example: pellucid models pull qwen2.5-coder-0.5b-instruct smollm2-135m-instruct")
def pull(names: Annotated[list[str], typer.Argument(help="Catalog names, or org/name[@revision] of the Hugging Face hub.")]) -> None:
    """Fetch models that are not there yet; a fetch that broke off goes on."""
    from pellucid.cli import model_commands

    model_commands.pull(names)


@models_app.command(epilog="Example: pellucid models show qwen2.5-coder-0.5b-instruct --verify")
def show(name: Name, verify: Annotated[bool, typer.Option("--verify", help="Read its files again and check them.")] = False) -> None:
    """Show what is known of a model: sources, size, licence, checksum, where it lies."""
    from pellucid.cli import model_commands

    model_commands.show(name, verify=verify)


@models_app.command(epilog="Example: pellucid models remove smollm2-135m-instruct")
def remove(names: Annotated[list[str], typer.Argument(help="Models to delete from this machine.")]) -> None:
    """Delete models from this machine, their packed weights and saved prompts included."""
    from pellucid.cli import model_commands

    model_commands.remove(names)
