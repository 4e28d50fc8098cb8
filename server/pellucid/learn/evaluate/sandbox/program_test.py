"""The two processes that judge a program: one runs it and answers calls, the other runs the tests and reports the verdict.

The program never shares an interpreter with its tests. It cannot see what they expect, change how
they compare, or reach the pipe of the verdict. It can only answer a call with a value.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import types
from typing import Any, Final, NamedTuple, NoReturn

from pellucid.learn.evaluate.sandbox.json_values import MessageError, decode, encode, receive, send

MAX_MESSAGE: Final = 500

PASSED, RAISED, LEFT = "passed", "raised", "left"
"""Verdicts; the values of ``sandbox.ProgramEnd``."""


class ProgramTest(NamedTuple):
    """A test of a program: ``test`` defines ``check(candidate)``, which is called with the program's ``entry_point``.

    ``reference`` is a correct program. The test may use its other functions, but not those of the
    judged program. Without an entry point, a program passes if it runs to its end.
    """

    entry_point: str = ""
    reference: str = ""
    test: str = ""


class Pipes(NamedTuple):
    """The two ends that one of the processes holds."""

    incoming: int
    outgoing: int


def serve(program: str, entry_point: str, pipes: Pipes) -> None:
    """Run a program, then answer calls of its function until the pipe is closed."""
    try:
        namespace = _run("program", program)
        if entry_point and entry_point not in namespace:
            raise NameError(f"name {entry_point!r} is not defined")
    except BaseException as error:  # SystemExit as well: a program that exits has not run to its end
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
    """Run the test against a program in another process, write the verdict and end this process."""
    judging = _Judging(pipes, verdict)
    try:
        judging.begin()
        if check.entry_point:
            namespace = _run("test", check.reference)
            # Some tests call the function by its name instead of their argument; they mean the
            # judged one.
            namespace[check.entry_point] = judging.call
            exec(compile(check.test, "test", "exec"), namespace)  # noqa: S102 - to run it is the purpose
            namespace["check"](judging.call)
    except BaseException as error:
        judging.end(RAISED, f"{type(error).__name__}: {_text(error)}")
    judging.end(PASSED)


class _Judging:
    """The judge's side of the conversation.

    Its ``end`` exits the process, so that no test can catch it.
    """

    def __init__(self, pipes: Pipes, verdict: int) -> None:
        self._pipes = pipes
        self._verdict = verdict

    def begin(self) -> None:
        """Wait until the program has run."""
        message = self._receive()
        if "ready" not in message:
            self.end(RAISED, f"{message.get('raised')}: {message.get('message')}")

    def call(self, *arguments: object, **keywords: object) -> Any:
        """Call the program's function with copies, and return its value or raise what it raised."""
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
        """Write the verdict and exit."""
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
    """Return an exception like the one that the program raised, of a built-in type."""
    kind = getattr(builtins, name, None)
    ends_a_loop = name in ("StopIteration", "StopAsyncIteration")  # raised in a test, it would end the test's loop
    if isinstance(kind, type) and issubclass(kind, Exception) and not ends_a_loop:
        try:
            return kind(message)
        except TypeError:  # UnicodeDecodeError, for one, cannot be made from a message
            pass
    return RuntimeError(f"{name}: {message}")


def _run(name: str, program: str) -> dict[str, Any]:
    """Run a program as a module and return its names."""
    module = types.ModuleType(
        name
    )  # not __main__, because code for running a file as a script is not part of an answer
    sys.modules[name] = module
    sys.argv = [name]
    exec(compile(program, name, "exec"), module.__dict__)  # noqa: S102 - to run it is the purpose
    return module.__dict__


def _text(error: BaseException) -> str:
    try:
        return str(error)[:MAX_MESSAGE]
    except BaseException:
        return "its message cannot be shown"
