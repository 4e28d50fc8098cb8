"""The command line starts fast, forwards every flag, and reports an error in a single sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pellucid.cli.app
from pellucid.cli import complete_chat_score
from pellucid.cli.complete_chat_score import offset_of
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.client.token_json import record_of
from pellucid.config import Settings
from pellucid.errors import InvalidRequestError, ModelError
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.message import Image, Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, Grammar, Reasoning, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token
from support.editors.scripted_editor import load_here
from support.silent_assistant import SilentAssistant

COMMANDS = [["serve"], ["complete"], ["chat"], ["score"], ["edit"], ["doctor"], ["bench"], ["webui"]]
COMMANDS += [["models", name] for name in ("list", "pull", "show", "remove")]
COMMANDS += [["adapters", name] for name in ("list", "load", "unload", "merge", "remove")]
COMMANDS += [[name] for name in ("train", "finetune", "evaluate", "calibrate", "review")]
COMMANDS += [["suggestions", name] for name in ("export", "delete")]
END = Finish(FinishReason.STOP, Usage(generated=2))
Run = Callable[..., tuple[int, str, str]]


class Scripted(SilentAssistant):
    """An assistant with an answer of two tokens and a record of queries and verbs."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, CompletionQuery | ChatQuery | ScoreQuery | None]] = []
        self.asked_far = 0
        self.tokens = [Token(1, "Hel", b"Hel", 4, -0.1, 1, 0.5), Token(2, "lo", b"lo", 5, -2.0, 2, 0.5)]
        self.interrupt = False
        self.open = 0
        self.end = END

    def complete(self, query: CompletionQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        return self._say("complete", query)

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        return self._say("chat", replace(query, messages=[*query.messages]))

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        return self._say("score", query)

    async def _say(self, verb: str, query: CompletionQuery | ChatQuery | ScoreQuery) -> AsyncGenerator[Token | Finish]:
        self.asked.append((verb, query))
        self.open += 1
        try:
            for token in self.tokens:
                yield token
            if self.interrupt:
                self.interrupt = False
                raise KeyboardInterrupt
            yield self.end
        finally:
            self.open -= 1

    def chats(self) -> list[list[Message]]:
        return [[*query.messages] for _, query in self.asked if isinstance(query, ChatQuery)]

    def close(self) -> None:
        """Also the `close` of the engine."""
        self.asked.append(("close", None))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """An assistant loaded in this process, without a server."""
    assistant = Scripted()
    load_here(monkeypatch, assistant)
    return assistant


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(run: Run, command: list[str]) -> None:
    """Every command's help has an example."""
    code, out, _ = run(*command, "--help")

    assert code == 0
    assert f"Example: pellucid {' '.join(command)}" in out


def test_help_names_every_command(run: Run) -> None:
    """The help lists all commands."""
    _, out, _ = run("--help")

    assert all(f"\n  {command[0]} " in out for command in COMMANDS)


def imported_by(module: str) -> set[str]:
    """Return the modules that the import of a module imports."""
    code = f"import sys, {module}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(pellucid.cli.app.__file__).parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.process
def test_start_is_light() -> None:
    """The command line imports neither the models' libraries nor the server nor the settings."""
    heavy = {"torch", "transformers", "numpy", "fastapi", "uvicorn", "httpx", "pydantic", "rich.progress"}

    assert not heavy & imported_by("pellucid.cli.app")


def test_doctor_reads_the_settings_first() -> None:
    """The doctor's module does not import torch, so unreadable settings are refused at once."""
    assert not {"torch", "transformers"} & imported_by("pellucid.cli.doctor")


def test_version(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--version` prints the name and the installed version."""
    monkeypatch.setattr("pellucid.system.installed_version.version", {"pellucid": "1.2.3"}.__getitem__)

    assert run("--version") == (0, "pellucid 1.2.3\n", "")


def test_pipes_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, text in pipes is UTF-8 instead of an encoding with few characters."""
    monkeypatch.setattr(sys, "platform", "win32")
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, TextIOWrapper(BytesIO(), "cp1252"))
    with pytest.raises(SystemExit):
        pellucid.cli.app.app(["--version"])
    assert (sys.stdin.encoding, sys.stdout.encoding) == ("utf-8", "utf-8")


def test_version_of_what_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a source folder without an installation, `--version` names no version."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("pellucid.system.installed_version.version", missing)

    assert run("--version") == (0, "pellucid (not installed: it runs from its source folder)\n", "")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["chatt"], "No such command 'chatt'"),
        (["serve", "--colour", "red"], "No such option: --colour"),
        (["serve", "--port", "abc"], "'--port'"),
        (["complete", "/no/such/file"], "'/no/such/file' does not exist"),
        (["chat", "hi", "--top-logprobs", "21"], "'--top-logprobs'"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], part: str) -> None:
    """Wrong usage exits with 2 and names the wrong argument on stderr."""
    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert part in err


def test_setting_error(run: Run) -> None:
    """A wrong setting exits with 1 and a single sentence."""
    assert run("serve", "--host", "0.0.0.0") == (
        1,
        "",
        "pellucid: Other machines can reach the host 0.0.0.0: set an API key (--api-key-file or PELLUCID_API_KEY).\n",
    )


@pytest.mark.parametrize(
    ("at", "offset"), [(None, 6), ("1:1", 0), ("1:3", 2), ("2:1", 3), ("2:3", 5), ("3:1", 6)]
)  # fmt: skip
def test_place(at: str | None, offset: int) -> None:
    """LINE:COL counts from 1, and includes the column and the line after the end."""
    assert offset_of("ab\ncd\n", at) == offset


@given(st.text("ab\né", max_size=20).flatmap(lambda text: st.tuples(st.just(text), st.integers(0, len(text)))))
def test_every_place_has_a_name(place: tuple[str, int]) -> None:
    """The line and column of an offset lead back to the offset."""
    text, offset = place
    line, column = text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1

    assert offset_of(text, f"{line}:{column}") == offset


@pytest.mark.parametrize(
    ("at", "sentence"),
    [
        ("5", "'5' is not LINE:COL, like 42:9."),
        ("a:b", "'a:b' is not LINE:COL, like 42:9."),
        ("1:-1", "'1:-1' is not LINE:COL, like 42:9."),
        ("0:1", "there is no line 0: the file has 2."),
        ("3:1", "there is no line 3: the file has 2."),
        ("1:4", "there is no column 4 in line 1: it ends at 3."),
        ("1:0", "there is no column 0 in line 1: it ends at 3."),
    ],
)
def test_no_such_place(run: Run, tmp_path: Path, at: str, sentence: str) -> None:
    """A place outside of the file is wrong usage, with the nearest valid number."""
    file = tmp_path / "a.py"
    file.write_text("ab\ncd")
    code, _, err = run("complete", file, "--at", at)

    assert code == 2
    assert sentence in err


def test_complete(run: Run, scripted: Scripted, tmp_path: Path) -> None:
    """`complete` sends the text before the place, the text after the place and every flag."""
    file = tmp_path / "a.py"
    file.write_bytes(b"a\r\nbc\n")
    flags = [
        *("--temperature", "0.5", "--top-p", "0.9", "--top-k", "3", "--min-p", "0.1", "--seed", "7", "--max-tokens"),
        *("9", "--top-logprobs", "2"),
    ]

    code, out, err = run("complete", file, "--at", "2:2", *flags)

    assert (code, out) == (0, "Hello\n")
    assert (
        err == "No server at http://127.0.0.1:8437: loading the model in this process (pellucid serve keeps the model "
        "loaded; set PELLUCID_PORT to the port of a running server).\n"
    )
    params = SamplingParams(max_tokens=9, temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, seed=7, top_logprobs=2)
    assert scripted.asked == [("complete", CompletionQuery("a\r\nb", "c\n", params=params)), ("close", None)]


def test_json(run: Run, scripted: Scripted, tmp_path: Path) -> None:
    """`--json` prints each token's record and then the finish, an object per line."""
    file = tmp_path / "a.txt"
    file.write_text("Hello")

    _, out, _ = run("score", file, "--top-logprobs", "5", "--json")

    *records, end = map(json.loads, out.splitlines())
    assert records == [record_of(token) for token in scripted.tokens]
    assert (end["finish"]["reason"], end["finish"]["usage"]["generated"]) == ("stop", 2)
    assert scripted.asked[0] == ("score", ScoreQuery("Hello", top_logprobs=5))


def test_chat(run: Run, scripted: Scripted) -> None:
    """`chat` with a message answers the message and exits."""
    assert run("chat", "hi", "--system", "Be brief.")[:2] == (0, "Hello\n")
    assert scripted.chats() == [[Message("system", "Be brief."), Message("user", "hi")]]


def test_images(run: Run, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of `--image` are sent with the first message only, in order."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    pictures = tuple(Image.of_base64(content) for content in ("YQ==", "Yg=="))
    _type(monkeypatch, ["one", "two"])

    assert run("chat", "--image", str(tmp_path / "a"), "--image", str(tmp_path / "b"))[0] == 0
    first, second = scripted.chats()
    assert first == [Message("user", "one", images=pictures)]
    assert second == [*first, Message("assistant", "Hello"), Message("user", "two")]


def test_reasoning(run: Run, scripted: Scripted) -> None:
    """`--reasoning` asks for reasoning, and only the answer is written to a pipe."""
    scripted.tokens = [replace(scripted.tokens[0], text="", reasoning="Hel"), scripted.tokens[1]]
    assert run("chat", "hi", "--reasoning", "low")[:2] == (0, "lo\n")
    (query,) = [query for _, query in scripted.asked if isinstance(query, ChatQuery)]
    assert query.reasoning == Reasoning("low")


def test_grammars(run: Run, scripted: Scripted, tmp_path: Path) -> None:
    """`--json-schema` or `--regex` limits the answer, and a cut answer is reported."""
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    scripted.end = replace(END, reason=FinishReason.LENGTH, complete=False)

    assert run("chat", "hi", "--json-schema", str(schema))[0] == 0
    _, _, err = run("complete", str(schema), "--regex", "a+")
    grammars = [query.grammar for _, query in scripted.asked if isinstance(query, (ChatQuery, CompletionQuery))]
    assert grammars == [Grammar("json_schema", '{"type": "object"}'), Grammar("regex", "a+")]
    assert "The answer is not complete: it ended early (length)." in err
    code, _, err = run("chat", "hi", "--json-schema", str(schema), "--regex", "a+")
    assert (code, "only one of them" in err) == (1, True)


def test_conversation(run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a message, each typed line is a turn after the previous turns; end of input exits."""
    _type(monkeypatch, ["one", "  ", "two"])

    assert run("chat")[:2] == (0, "Hello\nHello\n")
    assert scripted.chats() == [
        [Message("user", "one")],
        [Message("user", "one"), Message("assistant", "Hello"), Message("user", "two")],
    ]


def test_interrupted_turn(run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C stops an answer, not the conversation; the text so far stays in the conversation."""
    scripted.interrupt = True
    _type(monkeypatch, ["one", "two"])

    code, out, err = run("chat")

    assert (code, out, scripted.open) == (0, "HelloHello\n", 0)
    assert err.endswith("(stopped)\n")
    assert Message("assistant", "Hello") in scripted.chats()[1]


def test_interrupted_answer(run: Run, scripted: Scripted) -> None:
    """Ctrl-C during the only answer cancels the answer and exits with 130."""
    scripted.interrupt = True

    code, out, _ = run("chat", "hi")

    assert (code, out, scripted.open) == (130, "Hello", 0)


def test_model_loaded_for_one_command(run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with the model in this process neither reads nor saves prefixes."""
    memory: list[int] = []

    def assemble(settings: Settings, _names: object, _progress: object) -> tuple[Scripted, Scripted]:
        memory.append(settings.prefix_memory)
        return scripted, scripted

    monkeypatch.setattr("pellucid.serving.assemble.assemble", assemble)

    assert (run("chat", "hi")[0], memory) == (0, [0])


def test_model_that_cannot_be_loaded(run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loading error is printed as a sentence, without a traceback."""

    def fail(*_: object) -> None:
        raise ModelError("The file is truncated.")

    monkeypatch.setattr("pellucid.serving.assemble.assemble", fail)

    code, out, err = run("chat", "hi")

    assert (code, out, err.splitlines()[-1]) == (1, "", "pellucid: The file is truncated.")


def test_not_text(run: Run, tmp_path: Path) -> None:
    """A file in another encoding than UTF-8 is refused with the place of the first wrong byte."""
    file = tmp_path / "a.bin"
    file.write_bytes(b"ab\xff")

    assert run("score", file) == (1, "", f"pellucid: {file} is not UTF-8 text (byte 2): convert it first.\n")


def test_sampling_out_of_range() -> None:
    """A sampling flag out of range raises `InvalidRequestError`."""
    with pytest.raises(InvalidRequestError, match="top_p must be above 0 and at most 1"):
        complete_chat_score.sampling(1, 0.0, 0.0, 0, 0.0, None, 0)


def _server(monkeypatch: pytest.MonkeyPatch, scripted: Scripted, status: HealthStatus, message: str = "") -> None:
    """Patch the client to find a running server with the model m."""

    async def state(client: Client) -> ServerHealth:
        return ServerHealth(status, message)

    async def models(client: Client) -> list[dict[str, str]]:
        return [{"id": "m"}]

    def chat(client: Client, query: ChatQuery) -> AsyncGenerator[Token | Finish]:
        scripted.asked_far += 1
        return scripted.chat(query)

    monkeypatch.setattr(Client, "server_health", state)
    monkeypatch.setattr(Client, "models", models)
    monkeypatch.setattr(Client, "chat", chat)


def test_running_server(run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a running server, the server answers and no model is loaded."""
    _server(monkeypatch, scripted, HealthStatus.READY)

    assert run("chat", "hi", "--model", "m") == (0, "Hello\n", "")
    assert scripted.asked_far == 1
    assert [verb for verb, _ in scripted.asked] == ["chat"]


def test_server_without_the_model(run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model missing on the running server is loaded in this process, with a message."""
    _server(monkeypatch, scripted, HealthStatus.READY)

    _, out, err = run("chat", "hi", "--model", "other")

    assert (out, err) == (
        "Hello\n",
        "The server at http://127.0.0.1:8437 serves m, not other: loading it in this process.\n",
    )
    assert scripted.asked_far == 0


def test_loading_server(run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loading server causes an error: a second copy of the model would slow both down."""
    _server(monkeypatch, scripted, HealthStatus.LOADING, "Loading model")

    code, out, err = run("chat", "hi")

    assert (code, out) == (1, "")
    assert err == "pellucid: The server at http://127.0.0.1:8437 is not ready: Loading model. Try again in a moment.\n"


def test_a_server_without_an_engine_for_one_of_its_models(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server without an engine for a model still answers with the remaining models."""
    _server(monkeypatch, scripted, HealthStatus.AWAY)

    assert run("chat", "hi", "--model", "m") == (0, "Hello\n", "")
    assert scripted.asked_far == 1


def test_other_server(run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign program at the port causes an error."""
    _server(monkeypatch, scripted, HealthStatus.FOREIGN)

    code, _, err = run("chat", "hi")

    assert (code, err) == (
        1,
        "pellucid: The server at http://127.0.0.1:8437 is not Pellucid: stop it, or choose another port.\n",
    )


def _type(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    typed = iter(lines)

    def read(prompt: str = "") -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)
