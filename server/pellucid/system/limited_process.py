"""A separate Python process for code that a hostile file can crash, stop or make grow: it has limits and can be ended.

The two sides exchange JSON, a line each way. Each request has a limit of processor time and of wall time, and the process one of
memory. Those of memory and of processor time need POSIX.
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
"""Limit of wall time, as a multiple of the processor time: large enough that a busy machine does not make requests fail."""


MAX_ANSWER_BYTES = 2**28
"""Size of one answer: more than the vocabulary of any tokenizer takes, and the ids of the longest text that a request may have."""


class ProcessFailedError(Exception):
    """A request that the process did not answer, or answered with an error; the text says which."""


class LimitedProcess:
    """Runs ``main`` of a module, which calls :func:`serve`. It starts with the first request, and again after it was ended."""

    def __init__(self, module: str, packages: Sequence[str], first: object, seconds: float) -> None:
        """``first`` is sent to each new process before anything else, and may take ``seconds`` of processor time.

        The module can import these packages and the standard library.
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
        """Start the process and give its answer to the first message. Raises ProcessFailedError."""
        with self._lock:
            return self._start()

    def ask(self, message: object, seconds: float) -> Any:
        """The answer to a message, which may take so much processor time. Raises ProcessFailedError."""
        with self._lock:
            if not self._runs():
                self._start()
            return self._exchange(message, seconds)

    def close(self) -> None:
        """End the process."""
        self._process = None
        if self._finalizer is not None:
            self._finalizer()

    def _runs(self) -> bool:
        """Whether there is a process that was started by this one: a forked one must not share its pipes."""
        return self._process is not None and self._started_by == os.getpid() and self._process.poll() is None

    def _start(self) -> Any:
        self.close()
        try:
            self._process = isolated_python.start(self._module, self._packages)
        except OSError as error:
            raise ProcessFailedError(f"no process can be started ({error.strerror})") from None
        self._started_by = os.getpid()
        # Not __del__: where both are garbage at once, the process could be collected first, and would stay.
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
        except OSError:  # a pipe is closed
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
    """End a process, but never that of the process from which this one was forked."""
    if os.getpid() == started_by:
        isolated_python.end(process)


def serve(handle: Callable[[Any], object], memory: int) -> None:
    """Answer requests from standard input until it ends. ``memory`` is in bytes of address space.

    ``handle`` can open no files: import what it needs before.
    """
    isolated_python.limit(memory)
    answers = sys.stdout.buffer
    for line in sys.stdin.buffer:
        seconds, message = json.loads(line)
        _limit_time(seconds)
        try:
            answer = {"result": handle(message)}
        except BaseException as error:
            said = next(iter(str(error).splitlines()), "")[:200]
            answer = {"error": f"{type(error).__name__}: {said}" if said else type(error).__name__}
        _limit_time(0)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _limit_time(seconds: float) -> None:
    """End this process by SIGPROF after so much processor time; 0 takes the limit away."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _ending(status: int, seconds: float, elapsed: float) -> str:
    """How the process ended, as part of a sentence."""
    if elapsed >= WALL_FACTOR * seconds:
        return f"it took longer than {WALL_FACTOR * seconds:.0f} s"
    if hasattr(signal, "SIGPROF") and status == -signal.SIGPROF:
        return f"it took more than {seconds:.0f} s of processor time"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"it crashed with {signal.Signals(-status).name}"
    return f"it ended with status {status}"
