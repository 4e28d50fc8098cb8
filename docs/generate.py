"""Makes the reference pages from the code. Run as a script, writes settings.md and the catalog.

The catalog is a table in models.md. MkDocs makes the remaining pages.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer.main
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pellucid.api.app import create_app
from pellucid.api.server_state import ServerState
from pellucid.cli.app import app
from pellucid.client.address_settings import ENVIRONMENT_PREFIX
from pellucid.config import Settings, flag_of
from pellucid.models.catalog import catalog
from pellucid.system.atomic_files import human
from pellucid_lsp.editor_settings import settings_by_path

FOLDER = Path(__file__).parent

CATALOG_MARK, CATALOG_END = "<!-- catalog: docs/generate.py -->", "<!-- end of the catalog -->"

NOTE = "<!-- Written by docs/generate.py from the code. Edit that script or the code, then run it again. -->"

SETTINGS_INTRO = """
# Settings

Pellucid has two groups of settings: those of the server and those of the editor.

## The server

A flag of `pellucid serve` overrides an environment variable, which overrides `config.toml`, which overrides the \
default.
`config.toml` is in the platform's settings folder, `~/.config/pellucid` on Linux.
An unknown setting, or one of the wrong type, is an error that names it. `pellucid doctor` shows where each value \
comes from.
Lists are arrays in `config.toml`; in the environment their items are separated by commas.
`HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE` and the proxy are environment variables only: [network \
variables](models.md#network-variables).

```toml
# ~/.config/pellucid/config.toml
models = ["qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"]
port = 9000
context = 16384
```
"""

EDITOR_INTRO = """
## The editor

The language server takes its settings from the editor: `initializationOptions`, overridden by the section `pellucid` of
`workspace/configuration`. A dot separates nested objects: `completion.level` is written `{"completion": {"level": \
"quiet"}}`.
An unknown setting, or one of the wrong type, is reported in a message and ignored; the others are used.
"""

CLI_INTRO = """
# Command line

`make run` installs Pellucid in `.venv/bin`. `pellucid COMMAND --help` prints what this page says about a command.

`complete`, `chat` and `score` use a running server if there is one; otherwise they load the model themselves.
They colour each token by its probability, from plain (sure) through blue to orange (unsure), colours that people \
with any kind of colour
blindness can tell apart. In a pipe the text is plain. `--json` prints a record for every token.
Control characters in a model's answer are shown as symbols, so an answer cannot control the terminal.

A command exits with 0 on success, 1 on an error, which it explains in one sentence, 2 on wrong usage and 130 on Ctrl-C.
"""

HTTP_INTRO = """
# HTTP API

The server listens on `http://127.0.0.1:8437`. It has routes of OpenAI's and Anthropic's APIs, the routes of \
llama.cpp, ollama, Mistral
and Tabby that editor plugins use, and some of its own. Point an OpenAI client at `http://127.0.0.1:8437/v1` with any \
key, and llama.vim,
llama.vscode or a client of ollama at `http://127.0.0.1:8437`. [Clients](clients.md) has recipes.
A running server describes its routes at `/openapi.json`; this page is generated from that description.

- **Probabilities.** A [TokenRecord](#tokenrecord) has all data of one token. `/v1/score` returns these records in \
`tokens`. With
  `logprobs`, `/v1/completions` returns them in the list `logprobs.pellucid` of a choice; `/v1/chat/completions` and \
`/v1/fim/completions`
  in the field `pellucid` of each entry of `logprobs.content`; `/api/generate` and `/api/chat` in that of each entry \
of `logprobs`;
  `/v1/responses` in that of each entry of `logprobs`, with `include: ["message.output_text.logprobs"]`; and \
`/v1/messages`, with the
  extension `logprobs`, in `pellucid.tokens` of each block or delta. Logprobs are natural logarithms of the model's \
own distribution,
  before temperature and the other sampling settings.
- **Unknown fields are errors.** A field that is not listed here is refused with an error that names it, unless it is \
`null`, `[]` or `{}`:
  then it is ignored. For a listed field, `null` means the default.
- **Errors** have OpenAI's shape, those under `/api` ollama's: `{"error": "one sentence"}`, and those under \
`/v1/messages` Anthropic's:
  `{"type": "error", "error": {"type": "...", "message": "one sentence"}}`.
- **Cancelling.** Close the connection. The server then stops the request within one step of the engine.
- **Keys.** If the server has an API key, send it as `Authorization: Bearer KEY` or `X-Api-Key: KEY`. Only `/health`, \
`/page/alive`
  and the login form work without it.
- **Infill.** With `suffix`, `/v1/completions` fills the gap if the model has infill tokens (`infill` in \
`/v1/models`). Other models
  continue the prompt without seeing the suffix.

## Examples

Fill a gap, with a probability for each token:

```sh
curl -N http://127.0.0.1:8437/v1/completions -H 'Content-Type: application/json' \\
  -d '{"prompt": "def add(a, b):\\n    return ", "suffix": "\\n", "max_tokens": 16, "temperature": 0, "stream": true, \
"logprobs": 5}'
```

Chat, with five alternatives for each token:

```sh
curl -N http://127.0.0.1:8437/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{"messages": [{"role": "user", "content": "Reverse a string in Python."}], "stream": true, "logprobs": true, \
"top_logprobs": 5}'
```

Score a given text:

```sh
curl http://127.0.0.1:8437/v1/score -H 'Content-Type: application/json' \\
  -d '{"text": "def add(a, b):\\n    return a - b\\n", "top_logprobs": 3}'
```
"""

MORE_ROUTES = """
| `GET /` | the [page](page.md) |
| `GET /login`, `POST /login`, `GET /logout`, `POST /logout`, `GET /sessions` | the page's login, if the server has \
an API key |
| `POST /completions` | an alias of `POST /completion` |
| `GET /openapi.json` | the description of all routes |
""".strip()
"""Routes that the OpenAPI description omits."""


STREAMS = {"text/event-stream": "events", "application/x-ndjson": "lines"}
"""Content types of streams, with the parts of the stream."""

PLACEHOLDERS = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT", SecretStr: "TEXT"}
"""Placeholders in the help for values of these types."""


def settings_page() -> str:
    return _page(SETTINGS_INTRO, _server_settings(), EDITOR_INTRO, _editor_settings())


def _server_settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        flags = f"`{flag_of(name)}`"
        if field.annotation is bool:
            flags += f", `--no-{flag_of(name).removeprefix('--')}`"
        variable = f"`{ENVIRONMENT_PREFIX}{name.upper()}`"
        rows.append([f"`{name}`", flags, variable, _server_default(name, field), field.description or ""])
    return _table(["setting", "flag of `serve`", "environment", "default", "description"], rows)


def _server_default(name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        return f"the platform's {name} folder"
    return _shown(field.default, "none")


def _editor_settings() -> str:
    rows = [
        [f"`{path}`", _shown(one.default, "empty"), one.metadata["description"]] for path, one in settings_by_path()
    ]
    return _table(["setting", "default", "description"], rows)


def _shown(value: Any, nothing: str) -> str:
    if value is None or value in ("", ()):
        return nothing
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{', '.join(value)}`" if isinstance(value, tuple) else f"`{value}`"


def models_page(page: str) -> str:
    """Return the page with the present table of the catalog between the marks."""
    before, _, rest = page.partition(CATALOG_MARK)
    _, _, after = rest.partition(CATALOG_END)
    return f"{before}{CATALOG_MARK}\n\n{_catalog_table()}\n\n{CATALOG_END}{after}"


def _catalog_table() -> str:
    context = Settings.model_fields["context"].default
    rows = [
        (
            f"`{entry.name}`",
            f"{'' if entry.size else 'about '}{human(entry.download_bytes)}",
            human(entry.weight_bytes() + entry.cache_bytes(context)),
            f"[{entry.licence}]({entry.terms})" if entry.terms else entry.licence_terms,
            f"{entry.context:,}",
            "no" if entry.infill is None else "yes",
            "yes" if entry.tried else "no",
        )
        for entry in catalog().values()
    ]
    return _table(("name", "download", "memory", "licence", "context", "infill", "tried"), rows)


def cli_page() -> str:
    return _page(CLI_INTRO, *_command(typer.main.get_command(app), "pellucid"))


def http_page() -> str:
    """Return the page of all routes with fields and returned objects."""
    description = create_app(ServerState(models=("m",))).openapi()
    schemas: dict[str, Any] = description["components"]["schemas"]
    schemas |= dict(_inlined(schemas))
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    bodies = {name for _, operation in operations for name in _bodies(operation)[:1]}
    index = ["| route | purpose |", "|---|---|"]
    index += [f"| [`{route}`](#{_anchor(route)}) | {_cell(_summary(operation))} |" for route, operation in operations]
    objects = [_schema(name, schemas) for name in sorted(set(schemas) - bodies)]
    return _page(
        HTTP_INTRO,
        "## Routes",
        "\n".join([*index, MORE_ROUTES]),
        *(_operation(route, operation, schemas) for route, operation in operations),
        "## Objects",
        *filter(None, objects),
    )


def _inlined(part: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the objects that are written inside further objects, by title."""
    if isinstance(part, Mapping):
        if _is_inlined(part) and depth > 1:
            yield part["title"], part
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _inlined(inner, depth + 1)


def _is_inlined(schema: Mapping[str, Any]) -> bool:
    return "properties" in schema and isinstance(schema.get("title"), str)


def _page(*parts: str) -> str:
    return NOTE + "\n\n" + "\n\n".join(part.strip() for part in parts) + "\n"


def _command(command: Any, path: str) -> Iterator[str]:
    """Yield the sections of a command, or of all commands of a group."""
    if hasattr(command, "commands"):
        for name, inner in sorted(command.commands.items()):
            yield from _command(inner, f"{path} {name}")
        return
    shown = [one for one in command.get_params(typer.Context(command)) if one.name != "help"]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option"]
    words = [path, *(_argument(one) for one in arguments), *(["[OPTIONS]"] if options else [])]
    yield f"## {path}"
    yield f"```sh\n{' '.join(words)}\n```"
    yield _joined(command.help)
    rows = [(f"`{_argument(one)}`", _joined(one.help), "") for one in arguments]
    kinds: dict[str, Any] = {name: field.annotation for name, field in Settings.model_fields.items()}
    kinds |= {
        name: kind
        for name, kind in get_type_hints(inspect.unwrap(command.callback)).items()
        if kind is not typer.Context
    }
    rows += [(_flags(one, kinds[one.name]), _joined(one.help), _default(one)) for one in options]
    if rows:
        yield _table(("argument or option", "meaning", "default"), rows)
    if command.epilog:
        yield re.sub(r"(pellucid (?:[^,]|,(?! and))+)", r"`\1`", _joined(command.epilog))


def _argument(one: Any) -> str:
    name = (one.metavar or one.name.upper()) + (
        "..." if one.nargs == -1 and not str(one.metavar).endswith("...") else ""
    )
    return name if one.required else f"[{name}]"


def _flags(one: Any, kind: Any) -> str:
    value = "" if one.is_flag else " " + (one.metavar or _placeholder(kind))
    return ", ".join(f"`{flag}{value}`".replace("|", "\\|") for flag in (*one.opts, *one.secondary_opts))


def _placeholder(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    inner = [one for one in get_args(kind) if one is not NoneType]
    if inner:
        return _placeholder(inner[0])
    return "|".join(kind) if issubclass(kind, StrEnum) else PLACEHOLDERS[kind]


def _default(one: Any) -> str:
    if one.required:
        return "required"
    if one.default is None or one.is_flag or one.multiple:
        return ""
    return f"`{getattr(one.default, 'value', one.default)}`"


def _joined(text: str | None) -> str:
    """Return a docstring's paragraphs, each in one line."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text or "")]
    return "\n\n".join(part.replace("``", "`") for part in paragraphs)


def _cell(text: str) -> str:
    """Return a text for a table's cell, without the final full stop; an ellipsis stays."""
    return re.sub(r"(?<!\.)\.$", "", _joined(text).replace("\n\n", " ").replace("|", "\\|"))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) if cell[:1] != "`" else cell for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _anchor(route: str) -> str:
    """Return Python-Markdown's identifier for the heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", route).strip().lower())


def _summary(operation: Mapping[str, Any]) -> str:
    """Return the first sentence of an operation's description."""
    return str(operation["description"]).split("\n\n")[0].split(". ")[0]


def _bodies(operation: Mapping[str, Any]) -> list[str]:
    """Return the names of the possible schemas of the request's body."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    return [str(one["$ref"]).rpartition("/")[2] for one in schema.get("oneOf", [schema]) if "$ref" in one]


def _operation(route: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [f"### {route}", _joined(operation["description"])]
    fields = [
        (
            f"`{one['name']}`",
            _type(one["schema"]),
            one["schema"].get("default"),
            one.get("description", "") + f" (in the {one['in']})",
        )
        for one in operation.get("parameters", ())
    ]
    bodies = _bodies(operation)
    if bodies:
        fields += _fields(schemas[bodies[0]])
    if fields:
        parts.append(_table(("field", "type", "default", "meaning"), [(a, b, _value(c), d) for a, b, c, d in fields]))
    parts += [f"Or a body of the type [{name}](#{name.lower()})." for name in bodies[1:]]
    success, *errors = sorted(operation["responses"])
    replies = operation["responses"][success].get("content", {})
    shown = [
        f"{_type(reply['schema']) if 'schema' in reply else STREAMS[kind]} as `{kind}`"
        for kind, reply in replies.items()
    ]
    parts.append(f"Returns {' or '.join(shown) or 'no content'}. Errors: {', '.join(errors)}.")
    return "\n\n".join(parts)


def _schema(name: str, schemas: Mapping[str, Any]) -> str:
    """Return the section of an object; an object without fields has no table."""
    schema = schemas[name]
    rows = [(a, b, _value(c), d) for a, b, c, d in _fields(schema)]
    described = _joined(schema.get("description"))
    if not rows and "enum" not in schema:
        return f"### {name}\n\n{described}" if described else f"### {name}\n\nAny JSON value."
    if "enum" in schema:
        return f"### {name}\n\n{described}\n\nOne of {', '.join(f'`{value}`' for value in schema['enum'])}.".replace(
            "\n\n\n\n", "\n\n"
        )
    return f"### {name}\n\n{described}\n\n{_table(('field', 'type', 'default', 'meaning'), rows)}"


def _fields(schema: Mapping[str, Any]) -> list[tuple[str, str, Any, str]]:
    """Return name, type, default (``...`` if required) and meaning of each field."""
    required = schema.get("required", ())
    return [
        (
            f"`{name}`",
            _type(field) + _or_null(field, name in required),
            ... if name in required else field.get("default"),
            field.get("description", ""),
        )
        for name, field in schema.get("properties", {}).items()
    ]


def _or_null(schema: Mapping[str, Any], required: bool) -> str:
    """Return " or null" for a required field that may be null."""
    return " or null" if required and {"type": "null"} in schema.get("anyOf", ()) else ""


def _value(default: Any) -> str:
    if default is ...:
        return "required"
    if default is None:
        return ""
    if default == "":
        return "empty"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`"


def _type(schema: Mapping[str, Any]) -> str:
    """Return a JSON schema's type in a few words; objects are links to sections."""
    if "$ref" in schema or _is_inlined(schema):
        name = schema["$ref"].rpartition("/")[2] if "$ref" in schema else schema["title"]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        kinds = dict.fromkeys(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    if "const" in schema:
        return f'`"{schema["const"]}"`' if isinstance(schema["const"], str) else f"`{str(schema['const']).lower()}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        if schema.get("maxItems") == 0:
            return "`[]`"
        return f"array of {_type(schema.get('items', {}))}"
    return f"{schema.get('type', 'any')}{_bounds(schema)}"


def _bounds(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None or most is None or most >= 2**31 - 1:
        return ""
    return f", {least:g} to {most:g}"


MADE_WITH_THE_SITE = {"cli.md": cli_page, "http-api.md": http_page}
"""Pages that are too long for the repository."""

if __name__ == "__main__":
    (FOLDER / "settings.md").write_text(settings_page(), encoding="utf-8")
    models = FOLDER / "models.md"
    models.write_text(models_page(models.read_text(encoding="utf-8")), encoding="utf-8")
