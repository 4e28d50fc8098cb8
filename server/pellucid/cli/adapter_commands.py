"""The ``pellucid adapters`` commands. Heavy imports happen inside commands, like in app.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

adapters_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

AdapterName = Annotated[str, typer.Argument(help="Name of a folder in the cache's adapters/ folder.")]


@adapters_app.command("list", epilog="Example: pellucid adapters list")
def list_adapters() -> None:
    """List the adapters on this machine and the models that the running server serves with them."""
    from pellucid.cli import manage_adapters

    manage_adapters.show_all()


@adapters_app.command("load", epilog="Example: pellucid adapters load my-project")
def load_adapter(
    name: AdapterName,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Base model; by default the model that the adapter was made for."),
    ] = None,
) -> None:
    """Load or reload an adapter into the running server, where it becomes the model MODEL:NAME."""
    from pellucid.cli import manage_adapters

    manage_adapters.load(name, model)


@adapters_app.command("unload", epilog="Example: pellucid adapters unload my-project")
def unload_adapter(
    id: Annotated[str, typer.Argument(help="MODEL:NAME, or NAME if only one model has an adapter with this name.")],
) -> None:
    """Unload an adapter from the running server; running answers finish."""
    from pellucid.cli import manage_adapters

    manage_adapters.unload(id)


@adapters_app.command("merge", epilog="Example: pellucid adapters merge my-project ./my-model")
def merge_adapter(
    name: Annotated[str, typer.Argument(help="Name or folder of the adapter.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write; the folder must not exist.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Model to merge the adapter into; by default the model that the adapter was made for."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
) -> None:
    """Merge an adapter into its model, and write an ordinary safetensors model to a folder."""
    from pellucid.cli import manage_adapters

    manage_adapters.merge(name, folder, model, dtype)


@adapters_app.command("remove", epilog="Example: pellucid adapters remove my-project")
def remove_adapter(names: Annotated[list[str], typer.Argument(help="Adapters to delete from this machine.")]) -> None:
    """Delete adapters from this machine; a server keeps a loaded adapter until the server exits."""
    from pellucid.cli import manage_adapters

    manage_adapters.remove(names)
