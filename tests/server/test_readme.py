"""The README and the documentation name only existing things; the examples are valid requests."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest
import typer.main

from generate import HTTP_INTRO, MADE_WITH_THE_SITE
from pellucid.api.app import create_app
from pellucid.api.dialects.openai.chat_schema import ChatRequest
from pellucid.api.dialects.openai.completions_schema import CompletionRequest
from pellucid.api.schema.common import Body
from pellucid.api.schema.edits import EditRequest
from pellucid.api.schema.score import ScoreRequest
from pellucid.api.server_state import ServerState
from pellucid.cli.app import app
from pellucid.config import ENVIRONMENT_PREFIX
from pellucid.config import Settings as ServerSettings
from pellucid.engine.native.kernel_variants import VARIANT_VARIABLE
from pellucid.models.catalog import catalog
from pellucid_lsp.editor_settings import EditorSettings, camel

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
WRITTEN = {
    path.name: path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *DOCS.glob("*.md")]
    if path.name != "settings.md"
}
"""The handwritten pages by name.

``tests/docs/test_generated.py`` compares the settings with the code.
"""

PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "editors/README.md", "lsp/README.md")] + sorted(
    DOCS.glob("*.md")
)
BODIES: dict[str, type[Body]] = {
    "/v1/completions": CompletionRequest,
    "/v1/chat/completions": ChatRequest,
    "/v1/score": ScoreRequest,
    "/v1/edits": EditRequest,
}
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)


def code(page: str) -> Iterator[str]:
    """Yield every line of code of a page, in blocks and in sentences."""
    for block, span in CODE.findall(page):
        yield from (block or span).replace("\\\n", " ").splitlines()


def test_readme_is_short() -> None:
    """The README has at most 130 lines of at most 140 characters."""
    assert len(README.splitlines()) <= 130
    assert [line for line in README.splitlines() if len(line) > 140] == []


@cache
def command_line() -> Any:
    """Return the whole command line."""
    return typer.main.get_command(app)


def command_of(words: list[str]) -> tuple[Any, str]:
    """Return the command at the beginning of a line, and the command's name.

    Raises KeyError for an unknown command.
    """
    found, path = command_line(), "pellucid"
    for word in words:
        if not hasattr(found, "commands"):
            break
        found, path = found.commands[word], f"{path} {word}"
    return found, path


def uses() -> Iterator[tuple[str, str]]:
    """Yield page and command of every use of the command line in the written pages."""
    for name, page in WRITTEN.items():
        for line in code(page):
            for use in re.findall(r"(?:^|&& )pellucid ([a-z][^#&]*)", line):
                yield name, use.strip()


@pytest.mark.parametrize(("name", "use"), sorted(set(uses())))
def test_commands(name: str, use: str) -> None:
    """Every shown command and option exists."""
    words = use.split()
    command, path = command_of([word for word in words if re.fullmatch(r"[a-z]+", word)])
    assert not hasattr(command, "commands") or len(words) == 1, f"{name}: {path} is a group of commands"
    known = {
        flag for one in command.get_params(typer.Context(command)) for flag in (*one.opts, *one.secondary_opts)
    } | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known


def test_there_are_commands() -> None:
    """The pages show most of the commands."""
    assert len({command_of(re.findall(r"^[a-z]+(?: [a-z]+)?", use)[0].split())[1] for _, use in uses()}) > 15


def editor_settings(kind: type[Any] = EditorSettings, path: str = "") -> Iterator[str]:
    """Yield the names of the language server's settings."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        name = path + camel(field.name)
        if is_dataclass(hints[field.name]):
            yield from editor_settings(hints[field.name], f"{name}.")
        else:
            yield name


def test_settings() -> None:
    """Every named editor setting and environment variable exists."""
    spans = {span for page in WRITTEN.values() for span in code(page)}
    editors = {span for span in spans if re.fullmatch(r"(server|completion|context)\.[a-z]\w+", span)}
    variables = {word for span in spans for word in re.findall(rf"\b{ENVIRONMENT_PREFIX}\w+", span)}

    assert {"completion.level", "server.url"} <= editors <= set(editor_settings())
    assert variables <= {VARIANT_VARIABLE, *(ENVIRONMENT_PREFIX + name.upper() for name in ServerSettings.model_fields)}


def test_make() -> None:
    """Every named make target exists, and the README shows `make run` and `make test`."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {
        target for page in WRITTEN.values() for line in code(page) for target in re.findall(r"^make ([a-z-]+)", line)
    }

    assert {"run", "test", "docs"} <= named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"run", "test"} <= set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE))


def test_routes() -> None:
    """Every named route exists."""
    paths = set(create_app(ServerState(models=("m",))).openapi()["paths"])
    named = {
        route
        for page in WRITTEN.values()
        for line in code(page)
        for route in re.findall(r"(?<![\w.])/v1/[a-z_/]+\b", line)
    }

    assert {"/v1/score", "/v1/completions"} <= named <= paths


def links(page: Path) -> Iterator[str]:
    """Yield every address within the repository that a page links to or shows."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text)
    yield from (address for pair in found for address in pair if address and not re.match(r"[a-z]+:", address))


def anchors(page: Path) -> set[str]:
    """Return the identifiers of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Links and pictures lead to existing files and headings."""
    for address in links(page):
        path, _, anchor = address.partition("#")
        if page == DOCS / "index.md" and path in MADE_WITH_THE_SITE:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{address} is no file"
        assert target.suffix != ".md" or not anchor or anchor in anchors(target), f"{address} is no heading"


def test_there_are_links() -> None:
    """The README links to every page of the documentation."""
    named = {Path(address).name for address in links(ROOT / "README.md")}
    assert {path.name for path in DOCS.glob("*.md")} - named == set()


def test_tests_and_scripts() -> None:
    """Every named test and benchmark exists."""
    tests = set(re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)", WRITTEN["security.md"]))
    scripts = set(re.findall(r"\b(\w+\.py)\b", WRITTEN["benchmarks.md"])) - {"machine_limits.py"}

    assert len(tests) > 30
    assert [name for name in sorted(tests) if not (ROOT / name).is_file()] == []
    assert len(scripts) > 10
    places = (ROOT / "benchmarks", ROOT / "tests/editors")
    assert scripts - {path.name for place in places for path in place.glob("*.py")} == set()


def test_packages() -> None:
    """The architecture lists exactly the folders of the server."""
    tree = WRITTEN["architecture.md"].partition("server/pellucid/\n")[2].partition("\nlsp/")[0]
    folders = {path.name for path in (ROOT / "server" / "pellucid").iterdir() if (path / "__init__.py").is_file()}

    assert set(re.findall(r"^  (\w+)/", tree, re.MULTILINE)) == folders


def examples() -> list[tuple[str, str]]:
    """Return the routes and bodies of the curl lines."""
    pages = [README, HTTP_INTRO, *(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))]
    calls = [shlex.split(line) for page in pages for line in code(page) if line.startswith("curl ")]
    return [(next(word for word in call if word.startswith("http")), call[call.index("-d") + 1]) for call in calls]


@pytest.mark.parametrize(("url", "body"), examples())
def test_examples(url: str, body: str) -> None:
    """The bodies of the curl lines are valid for the routes."""
    BODIES[url.removeprefix("http://127.0.0.1:8437")].model_validate(json.loads(body))


def test_there_are_examples() -> None:
    """The examples include OpenAI's verbs and our verbs."""
    assert {url.removeprefix("http://127.0.0.1:8437") for url, _ in examples()} == set(BODIES)


@pytest.mark.model
async def test_answer(served_model: str) -> None:
    """The README's answer is a part of the real answer, up to rounding of the logprobs."""
    (call,) = [shlex.split(line) for line in code(README) if line.startswith("curl ")]
    shown = json.loads(re.findall(r"```json\n(.*?)```", README, re.DOTALL)[0])
    async with httpx.AsyncClient(timeout=60) as client:
        reply = await client.post(served_model + "/v1/completions", json=json.loads(call[call.index("-d") + 1]))
    real = reply.json()

    assert (shown["object"], shown["model"]) == (real["object"], real["model"])
    assert {name: shown["choices"][0][name] for name in ("text", "finish_reason")}.items() <= real["choices"][0].items()
    assert {"prompt_tokens": shown["usage"]["prompt_tokens"], "completion_tokens": 3}.items() <= real["usage"].items()
    (token,), second = shown["choices"][0]["logprobs"]["pellucid"], real["choices"][0]["logprobs"]["pellucid"][1]
    assert (token["id"], token["token"], token["position"], token["rank"]) == tuple(
        second[name] for name in ("id", "token", "position", "rank")
    )
    assert token["logprob"] == pytest.approx(second["logprob"], abs=0.02)
    assert [one["token"] for one in token["top"]] == [one["token"] for one in second["top"]]


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table under a heading: figures by measured quantity."""
    table = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return {name: re.findall(r"[\d.]+", " ".join(others)) for name, *others in cells[2:]}


def test_figures() -> None:
    """The README's six benchmarks are rows of the long table, with the same figures."""
    short, long = rows(README, "Benchmarks"), rows(WRITTEN["benchmarks.md"], "Speed")

    assert len(short) == 6
    for name, figures in short.items():
        (full,) = [others for other, others in long.items() if other.startswith(name)]
        assert set(figures) <= set(full), name


@pytest.mark.parametrize("page", ["README.md", "models.md"])
def test_licences(page: str) -> None:
    """The licences of all models without Apache-2.0 are named."""
    others = [entry.name for entry in catalog().values() if entry.licence != "Apache-2.0"]

    assert others == ["gemma-3-270m", "qwen2.5-coder-3b-instruct", "qwen2.5-coder-3b-base"]
    assert "Gemma Terms of Use" in WRITTEN[page]
    assert re.search(
        r"Qwen2\.5-Coder 3B (is under the|\|) Qwen Research License, which does not allow commercial use", WRITTEN[page]
    )
