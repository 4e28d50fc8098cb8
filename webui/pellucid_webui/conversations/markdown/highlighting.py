"""Highlights code in a separate process with limits.

Many lexers of Pygments take time that grows with the square of some texts, within regular
expressions, during which no other thread of a process runs. Code that takes too long is shown
without highlighting.
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
"""Longest code block that is highlighted."""

MAX_LINE_CHARACTERS = 5_000
"""Longest line of a code block that is highlighted."""

MAX_SECONDS = 0.3
"""Processor time for a code block. Code that people write takes a tenth of it."""

MAX_BLANK_LINES = 3
"""Blank lines in a row that a lexer gets; it gets no more of a longer run, as many lexers are slow
for those.
"""

_START_SECONDS = 5.0
_HARD_SECONDS = 1.0  # after which the process is ended: on a busy machine this limit of wall time must not come first
_MEMORY = 2**29
_FORMATTER: HtmlFormatter[str] = HtmlFormatter(nowrap=True, classprefix="pl-")
_DEADLINE: ContextVar[float] = ContextVar("deadline", default=math.inf)

_process = LimitedProcess(__name__, ["pellucid", "pellucid_webui", "pygments"], ["", "text"], _START_SECONDS)
_turns = ThreadPoolExecutor(
    1, thread_name_prefix="pellucid-highlighting"
)  # serves texts in the order in which they come


@contextmanager
def highlighting_ends_after(seconds: float) -> Iterator[None]:
    """Show code without highlighting once the body has taken this long.

    Code that was highlighted before stays so.
    """
    token = _DEADLINE.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def highlighted(source: str, language: str) -> str:
    """Return code as HTML, highlighted if Pygments knows the language and the limits allow.

    Waits for another process.
    """
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
    except TimeoutError:  # not of this text, which may be highlighted later
        return escape(source)


@lru_cache(maxsize=64)
def _by_pygments(source: str, language: str) -> str:
    """Return highlighted code, or the plain one if it exceeds a limit.

    Raises TimeoutError if there is no time left to ask.
    """
    mark = "\ufeff" if source.startswith("\ufeff") else ""  # which lexers remove
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
    """Let the process compile the expressions of a language, which may take longer than highlighting a text."""
    _process.ask(["", language], _START_SECONDS)


def _without_long_gaps(source: str) -> tuple[str, list[tuple[int, str]]]:
    """Return code without the blank lines beyond MAX_BLANK_LINES in a row, and each of them with the number of lines kept before it."""
    kept: list[str] = []
    left_out: list[tuple[int, str]] = []
    blank = 0
    *lines, end = source.split("\n")  # the end is kept: without a line end before it, the formatter would add one
    for line in lines:
        blank = 0 if line.strip() else blank + 1
        if blank > MAX_BLANK_LINES:
            left_out.append((len(kept), line))
        else:
            kept.append(line)
    return "\n".join([*kept, end]), left_out


@cache
def _languages() -> frozenset[str]:
    """Return the names of the languages that come with Pygments, without those of installed plugins."""
    return frozenset(alias.lower() for _, aliases, _, _ in get_all_lexers(plugins=False) for alias in aliases)


def _highlight(message: list[str]) -> str:
    """Return code in a language as HTML: the handler in the process."""
    source, language = message
    if source and hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    html: str = highlight(source, find_lexer_class_by_name(language)(stripnl=False, ensurenl=False), _FORMATTER)
    return html


def _interrupt(_: int, __: FrameType | None) -> None:
    raise TimeoutError(f"it took more than {MAX_SECONDS} s of processor time")


def main() -> None:
    """Serve highlighting: the program of the process.

    A text that takes too long is interrupted, so that the process lives on.
    """
    for name, *_ in get_all_lexers(plugins=False):
        find_lexer_class(name)
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, _interrupt)
    serve(_highlight, _MEMORY)
