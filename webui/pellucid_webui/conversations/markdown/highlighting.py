"""Highlighting of code in a separate process with limits.

For some texts, Pygments lexers take quadratic time within regular expressions, and block all
threads of the process. Code that takes too long is not highlighted.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from html import escape
from types import FrameType

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import find_lexer_class, find_lexer_class_by_name, get_all_lexers

from pellucid.system.limited_process import LimitedProcess, ProcessFailedError, serve

logger = logging.getLogger(__name__)

MAX_CODE_CHARACTERS = 20_000

MAX_LINE_CHARACTERS = 5_000

MAX_SECONDS = 0.3
"""Processor time limit; code written by people takes a tenth."""

MAX_BLANK_LINES = 3
"""Consecutive blank lines for a lexer: many lexers are slow for more."""

_START_SECONDS = 5.0
_HARD_SECONDS = 1.0  # Wall time: on a busy machine, MAX_SECONDS must be reached first.
_MEMORY = 2**29
_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True, classprefix="pl-")
_DEADLINE: ContextVar[float] = ContextVar("deadline", default=math.inf)

_process = LimitedProcess(__name__, ["pellucid", "pellucid_webui", "pygments"], ["", "text"], _START_SECONDS)
_turns = ThreadPoolExecutor(1, thread_name_prefix="pellucid-highlighting")  # in order of arrival


@contextmanager
def highlighting_ends_after(seconds: float) -> Iterator[None]:
    """Stop highlighting after this time; cached results are still used."""
    token = _DEADLINE.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def is_over() -> bool:
    """Return whether the time for highlighting has run out, so that later texts are plain."""
    return time.monotonic() >= _DEADLINE.get()


def highlighted(source: str, language: str) -> str:
    """Return code as HTML, highlighted within the limits. Waits for the process."""
    language = language.lower()
    longest_line = max(map(len, source.split("\n")))
    if (
        not source
        or language not in _languages()
        or len(source) > MAX_CODE_CHARACTERS
        or longest_line > MAX_LINE_CHARACTERS
    ):
        return escape(source)
    try:
        return _by_pygments(source, language)
    except TimeoutError:  # A busy process says nothing about this text, which may be highlighted later.
        return escape(source)


@lru_cache(maxsize=64)
def _by_pygments(source: str, language: str) -> str:
    """Return highlighted code, or plain code beyond a limit.

    Raises TimeoutError if no time is left.
    """
    mark = "\ufeff" if source.startswith("\ufeff") else ""  # Lexers remove a byte order mark.
    text, left_out = _without_long_gaps(source)
    turn = _turns.submit(_ask, text, language)
    try:
        html = turn.result(min(max(_DEADLINE.get() - time.monotonic(), 0.0), threading.TIMEOUT_MAX))
    except FutureTimeoutError:
        turn.cancel()
        raise TimeoutError from None
    except ProcessFailedError as error:
        logger.info("A code block of %d characters in %s is not highlighted: %s", len(source), language, error)
        return escape(source)
    lines, whole, begin = html.split("\n"), [], 0
    for end, line in left_out:
        whole += [*lines[begin:end], line]
        begin = end
    return mark + "\n".join([*whole, *lines[begin:]])


def _ask(text: str, language: str) -> str:
    _prepare(language)
    html: str = _process.ask([text, language], _HARD_SECONDS)
    return html


@cache
def _prepare(language: str) -> None:
    """Compile a language's expressions, which may take longer than highlighting."""
    _process.ask(["", language], _START_SECONDS)


def _without_long_gaps(source: str) -> tuple[str, list[tuple[int, str]]]:
    """Return code without long runs of blank lines, and (lines kept before, line) pairs."""
    kept: list[str] = []
    left_out: list[tuple[int, str]] = []
    blank = 0
    *lines, end = source.split("\n")  # Without a final line end, the formatter would add a line end.
    for line in lines:
        blank = 0 if line.strip() else blank + 1
        if blank > MAX_BLANK_LINES:
            left_out.append((len(kept), line))
        else:
            kept.append(line)
    return "\n".join([*kept, end]), left_out


@cache
def _languages() -> frozenset[str]:
    """Return the names of languages, without installed plugins' languages."""
    return frozenset(alias.lower() for _, aliases, _, _ in get_all_lexers(plugins=False) for alias in aliases)


def _highlight(message: list[str]) -> str:
    source, language = message
    if source and hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    html: str = highlight(source, find_lexer_class_by_name(language)(stripnl=False, ensurenl=False), _FORMATTER)
    return html


def _interrupt(_: int, __: FrameType | None) -> None:
    raise TimeoutError(f"it took more than {MAX_SECONDS} s of processor time")


def main() -> None:
    """Run the highlighting process.

    Interrupting slow texts keeps the process alive.
    """
    for name, *_ in get_all_lexers(plugins=False):
        find_lexer_class(name)
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, _interrupt)
    serve(_highlight, _MEMORY)
