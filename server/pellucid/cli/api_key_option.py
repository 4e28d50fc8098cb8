"""The API key options of commands, and a warning about visible keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

VISIBLE = "Visible in the process list."
ServerKey = Annotated[
    str | None,
    typer.Option(
        help=f"API key of the server. The key in the settings is sent only to the server in the settings. {VISIBLE}"
    ),
]

ApiKeyFile = Annotated[
    Path | None, typer.Option(metavar="PATH", help="File that contains the key, readable only by you.")
]


def warn_of_visible_key(api_key: str | None) -> None:
    if api_key is not None:
        typer.echo(
            "pellucid: Every user of this machine can read --api-key in the process list. Use --api-key-file or "
            "PELLUCID_API_KEY instead.",
            err=True,
        )
