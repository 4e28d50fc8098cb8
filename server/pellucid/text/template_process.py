"""Rendering of chat templates in a child process with limits, because templates may be hostile."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.errors import UnavailableError
from pellucid.system import isolated_python
from pellucid.text.rendering_limits import CPU_SECONDS, WALL_SECONDS, RenderingError

MAX_ESCAPED_BYTES = 12
"""Bytes of a character in the JSON of a reply: at most two escapes of six bytes."""


class TemplateProcess:
    """A renderer of a template in a child process that the first rendering starts.

    A child that dies or exceeds a limit fails only the current rendering. The child ends with this
    object, and also when this process is killed, because the child's standard input ends.
    """

    def __init__(self, source: str, model: str) -> None:
        self._source = source
        self._model = model
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def render(self, variables: Mapping[str, Any], limit: int) -> str:
        """Return the text for these variables; blocks.

        Raises RenderingError, also for a text of more than ``limit`` characters, and
        UnavailableError if no child can be started.
        """
        with self._lock:
            begun = time.monotonic()
            process, first = self._running()
            with isolated_python.killed_after(process, WALL_SECONDS):
                reply = _ask(process, [*first, {"variables": variables, "limit": limit}], limit)
            if isinstance(reply, str):
                return reply
            if reply is None or reply.kind == "limit":  # The child may still hold the memory of the rendering.
                self._stop()
        raise reply or RenderingError("limit", _death(process.returncode, time.monotonic() - begun))

    def _running(self) -> tuple[subprocess.Popen[bytes], list[Any]]:
        if self._process is not None and self._process.poll() is None:
            return self._process, []
        self._stop()
        try:
            self._process = process = isolated_python.start(
                "pellucid.text.template_renderer", ["pellucid", "jinja2", "markupsafe"]
            )
        except OSError as error:
            reason = f"no process can be started for it ({error.strerror})"
            raise UnavailableError(
                f"The chat template of {self._model} cannot be rendered now, {reason}: try again later."
            ) from None
        self._finalizer = weakref.finalize(self, isolated_python.end, process)
        return process, [self._source]

    def _stop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()


def _ask(process: subprocess.Popen[bytes], lines: Sequence[Any], limit: int) -> str | RenderingError | None:
    assert process.stdin is not None, "stdin is a pipe"
    assert process.stdout is not None, "stdout is a pipe"
    with contextlib.suppress(BrokenPipeError, ConnectionError):  # The child has died: no reply will follow.
        for value in lines:
            process.stdin.write(json.dumps(value).encode("ascii") + b"\n")
        process.stdin.flush()
    line = process.stdout.readline(MAX_ESCAPED_BYTES * limit + 2**16)
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match reply:
        case {"text": str(text)}:
            return text
        case {"kind": "syntax" | "refusal" | "limit" as kind, "detail": str(detail)}:
            return RenderingError(kind, detail)
    return None


def _death(status: int, seconds: float) -> str:
    if sys.platform != "win32" and status == -signal.SIGXCPU:
        return f"takes more than {CPU_SECONDS} seconds of processor time"
    if seconds >= WALL_SECONDS:
        return f"takes longer than {WALL_SECONDS} seconds"
    return f"breaks the process that renders it (exit status {status})"
