"""The program ``pellucid``, also ``python -m pellucid``."""

from __future__ import annotations

import sys
from importlib.util import find_spec

EDITOR_STARTS = {
    ("lsp",): False,
    ("lsp", "--stdio"): False,
    ("lsp", "--as", "copilot", "--stdio"): True,
}
"""The arguments in editors' settings; True means the Copilot protocol."""


def main() -> None:
    """Run the command line, or serve an editor without importing typer, because editors wait."""
    copilot = EDITOR_STARTS.get(tuple(sys.argv[1:]))
    if copilot is not None and find_spec("pygls"):
        from pellucid_lsp.run_language_server import run

        run(None, copilot=copilot)
    else:
        from pellucid.cli.app import app

        app()


if __name__ == "__main__":
    main()
