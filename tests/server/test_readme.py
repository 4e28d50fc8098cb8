"""The README says what is there: every setting, route, command and file, and its examples are good requests."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from fastapi.routing import APIRoute
from starlette.routing import Route

from pellucid.api.app import create_app
from pellucid.api.schema.common import Body
from pellucid.api.schema.openai import ChatRequest, CompletionRequest, ScoreRequest
from pellucid.api.state import ServerState
from pellucid.cli.app import app
from pellucid.config import settings_table
from pellucid.models.catalog import catalog

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BODIES: dict[str, type[Body]] = {
    "/v1/completions": CompletionRequest,
    "/v1/chat/completions": ChatRequest,
    "/v1/score": ScoreRequest,
}


def test_settings() -> None:
    """The table of settings is the one that config.py makes."""
    assert settings_table() in README


def commands(command: Any, path: str) -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield path
        return
    for name, inner in command.commands.items():
        yield from commands(inner, f"{path} {name}")


def test_commands() -> None:
    """Every command has a row."""
    rows = set(re.findall(r"^\| `(pellucid(?: [a-z]+)+)", README, re.MULTILINE))

    assert rows == set(commands(typer.main.get_command(app), "pellucid"))


def routes() -> Iterator[str]:
    application = create_app(ServerState(models=("m",)))
    for path, methods in application.openapi()["paths"].items():
        yield from (f"{method.upper()} {path}" for method in methods)
    for route in application.routes:
        if isinstance(route, Route) and not isinstance(route, APIRoute):
            yield from (f"{method} {route.path}" for method in route.methods or () if method != "HEAD")


def test_routes() -> None:
    """Every route has a place in the table."""
    named = {name.replace(":path", "") for name in re.findall(r"`((?:GET|POST|DELETE) /[^`]*)`", README)}

    there = {route.replace(":path", "") for route in routes()}
    assert {"POST /v1/score", "GET /openapi.json"} <= there
    assert there <= named


def test_files() -> None:
    """Every source file is in the tree, and the tree names no file that is gone."""
    tree = next(block for block in README.split("```")[1::2] if "server/pellucid/" in block)
    packages = (ROOT / "server" / "pellucid", ROOT / "lsp" / "pellucid_lsp", ROOT / "webui" / "pellucid_webui")
    paths = [path for package in packages for path in package.rglob("*")]
    files = {path.name for path in paths if path.suffix in (".py", ".toml", ".c", ".h", ".js", ".css") and path.name != "__init__.py"}

    assert set(re.findall(r"\b\w+\.(?:py|toml|c|h|js|css)\b", tree)) == files


def examples() -> list[tuple[str, str]]:
    """Routes and bodies of the curl lines."""
    lines = README.replace("\\\n", " ").splitlines()
    calls = [shlex.split(line) for line in lines if line.startswith("curl ")]
    return [(next(word for word in call if word.startswith("http")), call[call.index("-d") + 1]) for call in calls]


@pytest.mark.parametrize(("url", "body"), examples())
def test_examples(url: str, body: str) -> None:
    """The curl lines ask what the routes understand."""
    BODIES[url.removeprefix("http://127.0.0.1:8437")].model_validate(json.loads(body))


def test_there_are_examples() -> None:
    """All three of OpenAI's and our verbs are shown."""
    assert len(examples()) == len(BODIES)


def test_licences() -> None:
    """Models that are not under Apache-2.0 are named as such."""
    others = [entry.name for entry in catalog().values() if entry.licence != "Apache-2.0"]

    assert others == ["qwen2.5-coder-3b-instruct"]
    assert "Qwen2.5-Coder 3B under the Qwen Research License" in README
