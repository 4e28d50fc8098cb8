"""Rendering of chat templates, in this process or as the program of a child process.

Templates come with model files and may be hostile: ``template_process`` runs this module in a child
process for every unknown template. This module imports only two light modules, the standard library
and jinja2: the child is small and starts quickly.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property, partial
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pellucid.system import isolated_python
from pellucid.text.rendering_limits import CPU_SECONDS, WALL_SECONDS, RenderingError

if sys.platform != "win32":
    import resource

MEMORY_BYTES = 512 * 2**20
"""Address space of a child. Python and jinja2 need 30 MB."""

MAX_DETAIL_CHARACTERS = 1000

LAZY_IMPORTS = (
    "encodings.ascii",
    "encodings.unicode_escape",
    "html",
    "jinja2.constants",
    "jinja2.debug",
    "pprint",
    "textwrap",
    "unicodedata",
)
"""Modules that jinja2, markupsafe and Python import lazily; a child imports them before it gives up
files.
"""


class Renderer:
    def __init__(self, source: str) -> None:
        self._source = source

    def render(self, variables: Mapping[str, Any], limit: int) -> str:
        """Return the text. Raises RenderingError, also for more than ``limit`` characters."""
        template = self._template
        pieces: list[str] = []
        size = 0
        try:
            for piece in template.generate(variables):
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    raise RenderingError("limit", f"writes more than {limit:,} characters")
        except (RenderingError, MemoryError):
            raise
        except RecursionError:
            raise RenderingError("limit", "nests or calls itself too deeply") from None
        except Exception as error:  # An expression may raise anything.
            raise RenderingError("refusal", _detail(error)) from None
        return "".join(pieces)

    @cached_property
    def _template(self) -> jinja2.Template:
        try:
            return environment().from_string(self._source)
        except MemoryError:
            raise
        except RecursionError:
            raise RenderingError("limit", "nests or calls itself too deeply") from None
        except Exception as error:  # jinja2's errors, and Python's errors in the generated code.
            raise RenderingError("syntax", _detail(error)) from None


def environment() -> ImmutableSandboxedEnvironment:
    """Return the environment of all chat templates, like the transformers library's."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _GenerationBlock]
    )
    made.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = _strftime_now
    return made


class _GenerationBlock(Extension):
    """``{% generation %}...{% endgeneration %}``, a mark of training answers around the body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own protocol

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().astimezone().strftime(format)


def _detail(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= MAX_DETAIL_CHARACTERS else text[:MAX_DETAIL_CHARACTERS] + " …"


def main() -> None:
    """Render a template, as the program of the child.

    The first line of standard input is the source in JSON. Each further line is a request, and is
    answered with a line.
    """
    source = json.loads(sys.stdin.buffer.readline())
    for module in LAZY_IMPORTS:
        importlib.import_module(module)
    _strftime_now("%c")  # Reads the time zone.
    isolated_python.limit(MEMORY_BYTES)
    renderer = Renderer(source)
    for line in sys.stdin.buffer:
        _start_clock()
        sys.stdout.buffer.write(_answer(renderer, line) + b"\n")
        sys.stdout.buffer.flush()
        faulthandler.cancel_dump_traceback_later()


def _answer(renderer: Renderer, line: bytes) -> bytes:
    """Return the reply to a request, as JSON in ASCII: the text may have lone surrogates."""
    try:
        request = json.loads(line)
        return json.dumps({"text": renderer.render(request["variables"], request["limit"])}).encode("ascii")
    except RenderingError as error:
        kind, detail = error.kind, error.detail
    except MemoryError:
        kind, detail = "limit", f"needs more than {MEMORY_BYTES // 2**20} MiB of memory"
    return json.dumps({"kind": kind, "detail": detail}).encode("ascii")


def _start_clock() -> None:
    """Let the system end this process after the time limits, even without the parent."""
    faulthandler.dump_traceback_later(
        WALL_SECONDS, exit=True
    )  # A native thread, which needs no lock of the interpreter.
    if sys.platform != "win32":
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        spent = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent.ru_utime + spent.ru_stime) + 1 + CPU_SECONDS, hard))
