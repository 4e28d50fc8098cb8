"""Run the command line as ``python -m pellucid``."""

from pellucid.cli.app import app

app()
