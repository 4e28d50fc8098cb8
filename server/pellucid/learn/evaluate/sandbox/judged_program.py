"""Runs a program in one process and the tests in another process.

The processes share no interpreter. The program can only answer a call with a value, and cannot
reach expected values, comparisons or the verdict's pipe.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import types
from typing import Any, Final, NamedTuple, NoReturn

from pellucid.learn.evaluate.sandbox.typed_json_pipe import MessageError, decode, encode, receive, send

MAX_MESSAGE: Final = 500

PASSED, RAISED, LEFT = "passed", "raised", "left"
"""The values of ``sandbox.ProgramEnd``."""


class ProgramTest(NamedTuple):
    """``test`` defines ``check(candidate)``, called with the program's ``entry_point``.

    ``reference`` is a correct program, for other functions that the test needs. Without an entry
    point, a program passes by running to the end.
    """

    entry_point: str = ""
    reference: str = ""
    test: str = ""


class Pipes(NamedTuple):
    incoming: int
    outgoing: int


def serve(program: str, entry_point: str, pipes: Pipes) -> None:
    """Run a program, then answer calls of ``entry_point`` until the pipe is closed."""
    try:
        namespace = _run("program", program)
        if entry_point and entry_point not in namespace:
            raise NameError(f"name {entry_point!r} is not defined")
    # SystemExit counts: a program that exits has not run to the end.
    except BaseException as error:
        send(pipes.outgoing, {"raised": type(error).__name__, "message": _text(error)})
        return
    send(pipes.outgoing, {"ready": True})
    while (call := receive(pipes.incoming)) is not None:
        try:
            value = namespace[entry_point](*decode(call["arguments"]), **decode(call["keywords"]))
            send(pipes.outgoing, {"value": encode(value)})
        except BaseException as error:
            send(pipes.outgoing, {"raised": type(error).__name__, "message": _text(error)})


def judge(check: ProgramTest, pipes: Pipes, verdict: int) -> NoReturn:
    """Test a program in another process, write the verdict and end this process."""
    judging = _Judging(pipes, verdict)
    try:
        judging.begin()
        if check.entry_point:
            namespace = _run("test", check.reference)
            # Some tests call the function by name instead of the argument.
            namespace[check.entry_point] = judging.call
            exec(compile(check.test, "test", "exec"), namespace)  # noqa: S102 - to run it is the purpose
            namespace["check"](judging.call)
    except BaseException as error:
        judging.end(RAISED, f"{type(error).__name__}: {_text(error)}")
    judging.end(PASSED)


class _Judging:
    """The judge's side. ``end`` exits the process, so that no test can catch the end."""

    def __init__(self, pipes: Pipes, verdict: int) -> None:
        self._pipes = pipes
        self._verdict = verdict

    def begin(self) -> None:
        message = self._receive()
        if "ready" not in message:
            self.end(RAISED, f"{message.get('raised')}: {message.get('message')}")

    def call(self, *arguments: object, **keywords: object) -> Any:
        """Call the program's function with copies. Return the value or raise the error."""
        try:
            send(self._pipes.outgoing, {"arguments": encode(arguments), "keywords": encode(keywords)})
        except BrokenPipeError:
            self.end(LEFT, "It exited before its end.")
        message = self._receive()
        if "value" in message:
            try:
                return decode(message["value"])
            except (MessageError, RecursionError) as error:
                self.end(RAISED, f"its answer cannot be read: {error}")
        raise _exception(str(message.get("raised")), str(message.get("message")))

    def end(self, verdict: str, message: str = "") -> NoReturn:
        line = json.dumps({"end": verdict, "message": message.replace("\n", " ")[:MAX_MESSAGE]})
        os.write(self._verdict, f"{line}\n".encode())
        os._exit(0)

    def _receive(self) -> dict[str, Any]:
        try:
            message = receive(self._pipes.incoming)
        except MessageError as error:
            self.end(RAISED, f"its answer cannot be read: {error}")
        if message is None:
            self.end(LEFT, "It exited before its end.")
        return message


def _exception(name: str, message: str) -> Exception:
    """Return an exception of a built-in type like the program's exception."""
    kind = getattr(builtins, name, None)
    # In a test, these exceptions would end the test's loop.
    ends_a_loop = name in ("StopIteration", "StopAsyncIteration")
    if isinstance(kind, type) and issubclass(kind, Exception) and not ends_a_loop:
        try:
            return kind(message)
        # UnicodeDecodeError, for example, needs more than a message.
        except TypeError:
            pass
    return RuntimeError(f"{name}: {message}")


def _run(name: str, program: str) -> dict[str, Any]:
    # Not __main__: script code is not part of an answer.
    module = types.ModuleType(name)
    sys.modules[name] = module
    sys.argv = [name]
    exec(compile(program, name, "exec"), module.__dict__)  # noqa: S102 - to run it is the purpose
    return module.__dict__


def _text(error: BaseException) -> str:
    try:
        return str(error)[:MAX_MESSAGE]
    except BaseException:
        return "its message cannot be shown"
