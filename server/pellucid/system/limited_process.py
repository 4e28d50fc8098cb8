"""Python processes with limits, for code that a hostile file can crash, stop or make grow.

The two sides exchange lines of JSON. Each request has a limit of processor time and of wall time,
and the process has a memory limit. The limits of memory and of processor time need POSIX.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from pellucid.system import isolated_python

WALL_FACTOR = 5
"""Wall time as a multiple of processor time: requests must not fail on a busy machine."""


MAX_ANSWER_BYTES = 2**28
"""Maximum size of an answer: enough for any vocabulary, and for the ids of the longest text."""


class ProcessFailedError(Exception):
    """A failed request. The message is the reason, as part of a sentence."""


class LimitedProcess:
    """A process that runs ``main`` of a module, which calls :func:`serve`.

    The process starts with the first request, and again after an end.
    """

    def __init__(self, module: str, packages: Sequence[str], first: object, seconds: float) -> None:
        """Prepare a process that can import these packages and the standard library.

        ``first`` is the first message to each new process, with ``seconds`` of processor time.
        """
        self._module = module
        self._packages = packages
        self._first = first
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_by = 0
        self._finalizer: weakref.finalize[..., Any] | None = None

    def start(self) -> Any:
        """Start the process and return its answer to ``first``."""
        with self._lock:
            return self._start()

    def ask(self, message: object, seconds: float) -> Any:
        """Return the answer to a message, with ``seconds`` of processor time."""
        with self._lock:
            # Start one for a fork, too, which must not share the pipes.
            if self._process is None or self._started_by != os.getpid() or self._process.poll() is not None:
                self._start()
            return self._exchange(message, seconds)

    def close(self) -> None:
        self._process = None
        if self._finalizer is not None:
            self._finalizer()

    def _start(self) -> Any:
        self.close()
        try:
            self._process = isolated_python.start(self._module, self._packages)
        except OSError as error:
            raise ProcessFailedError(f"no process can be started ({error.strerror})") from None
        self._started_by = os.getpid()
        # Not __del__: if both are garbage at once, the process object could be collected first, and
        # the process would survive.
        self._finalizer = weakref.finalize(self, _end, self._process, self._started_by)
        return self._exchange(self._first, self._seconds)

    def _exchange(self, message: object, seconds: float) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        began = time.monotonic()
        try:
            with isolated_python.killed_after(process, WALL_FACTOR * seconds):
                process.stdin.write(json.dumps([seconds, message]).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline(MAX_ANSWER_BYTES)
        except OSError:  # A pipe is closed.
            line = b""
        if not line.endswith(b"\n") and len(line) < MAX_ANSWER_BYTES:
            self.close()
            raise ProcessFailedError(_ending(process.returncode, seconds, time.monotonic() - began))
        try:
            answer = json.loads(line)
            if not isinstance(answer, dict) or not answer.keys() & {"error", "result"}:
                raise ValueError("not an answer of serve")
        except (ValueError, RecursionError):
            self.close()
            raise ProcessFailedError("it gave no valid answer") from None
        if "error" in answer:
            raise ProcessFailedError(str(answer["error"]))
        return answer["result"]


def _end(process: subprocess.Popen[bytes], started_by: int) -> None:
    if os.getpid() == started_by:
        isolated_python.end(process)


def serve(handle: Callable[[Any], object], memory: int) -> None:
    """Answer requests from standard input. ``memory`` is the address space in bytes.

    ``handle`` cannot open files: import everything first.
    """
    isolated_python.limit(memory)
    answers = sys.stdout.buffer
    for line in sys.stdin.buffer:
        seconds, message = json.loads(line)
        _limit_time(seconds)
        try:
            answer = {"result": handle(message)}
        except BaseException as error:
            text = next(iter(str(error).splitlines()), "")[:200]
            answer = {"error": f"{type(error).__name__}: {text}" if text else type(error).__name__}
        _limit_time(0)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _limit_time(seconds: float) -> None:
    """End this process by SIGPROF after this processor time; 0 removes the limit."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _ending(status: int, seconds: float, elapsed: float) -> str:
    if elapsed >= WALL_FACTOR * seconds:
        return f"it took longer than {WALL_FACTOR * seconds:.0f} s"
    if hasattr(signal, "SIGPROF") and status == -signal.SIGPROF:
        return f"it took more than {seconds:.0f} s of processor time"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"it crashed with {signal.Signals(-status).name}"
    return f"it ended with status {status}"
