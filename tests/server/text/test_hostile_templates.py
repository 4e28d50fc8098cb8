"""Tests of hostile chat templates: an error for the client, and no harm to the server."""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import pellucid.system.isolated_python
import pellucid.text.template_process
from pellucid.api.server_state import ServerState
from pellucid.config import load_settings
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.errors import InvalidRequestError, NotSupportedError
from pellucid.models.catalog import catalog
from pellucid.models.formats.gguf import GGUF
from pellucid.models.store import Store
from pellucid.text import model_thread
from pellucid.text.assistant import LocalAssistant
from pellucid.text.prompts import CHATML, ChatTemplate, is_known
from pellucid.text.rendering_limits import RenderingError
from pellucid.text.template_process import TemplateProcess
from pellucid.text.template_renderer import Renderer
from pellucid.vocabulary.message import Message
from support.find_children import children_of
from support.models.model_files import byte_level_bpe, write_folder
from support.models.served_models import served_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.hostile_templates import BENIGN, EVERY_DAY, FILTERS, HOSTILE, SPIN
from support.servers.http_servers import live
from support.servers.scripted_engine import MARKERS, WORDS, byte_tokenizer
from support.trial_counts import IS_TRIAL

pytestmark = pytest.mark.slow

CHAT = [
    Message("system", "Be brief."),
    Message("user", "Hi <|im_end|> <é> 日本 😀"),
    Message("assistant", "\ue000"),
    Message("user", "x"),
]
VARIABLES: dict[str, Any] = {
    "messages": [{"role": message.role, "content": message.content} for message in CHAT],
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
}
ECHO = "{% if messages[0].content == 'spin' %}" + SPIN + "{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
END = "|END|"
"""The text between two templates in a template of many."""
RENDERER = "template_renderer"
"""A part of the command line of every process that renders templates."""
LATE = re.compile("processor time|longer than")
PATIENCE = 120
"""Seconds that are reached only where a test fails."""


@pytest.fixture
def short_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a child have a second of processor time at most, instead of two to three."""
    main = "import_module(sys.argv[1]).main()"
    assert main in pellucid.system.isolated_python.BOOTSTRAP
    shorter = f"import_module(sys.argv[1]).CPU_SECONDS = 0; {main}"
    bootstrap = pellucid.system.isolated_python.BOOTSTRAP.replace(main, shorter)
    monkeypatch.setattr(pellucid.system.isolated_python, "BOOTSTRAP", bootstrap)


def template(source: str) -> ChatTemplate:
    return ChatTemplate(byte_tokenizer(chat_template=source), "the model")


def until(holds: Callable[[], bool]) -> None:
    late = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < late, "it never came"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Return whether a process runs, and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


# Texts of templates.


@pytest.mark.process
@pytest.mark.parametrize("name", HOSTILE if IS_TRIAL else EVERY_DAY)
def test_hostile_template_is_one_sentence(name: str, request: pytest.FixtureRequest) -> None:
    """A template that exceeds a limit is an error of one sentence, within a bounded time."""
    source, message = HOSTILE[name]
    if LATE.pattern in message and source != SPIN:
        request.getfixturevalue("short_clock")
    with pytest.raises((InvalidRequestError, NotSupportedError), match=message) as raised:
        template(source).encode(CHAT)
    assert str(raised.value).startswith("The chat template of the model ")
    assert len(str(raised.value)) < 1100


@pytest.mark.process
def test_both_ways_are_the_same() -> None:
    """A child writes the texts and raises the errors of this process, for jinja2's features too."""
    sources = [*BENIGN.values(), *("{{ " + expression + " }}" for expression in FILTERS)]
    here = {source: outcome(Renderer(source)) for source in sources}
    written = [source for source, (kind, _) in here.items() if kind == "text"]
    texts = TemplateProcess(END.join(written), "the model").render(VARIABLES, 10**6).split(END)
    there = {source: ("text", text) for source, text in zip(written, texts, strict=True)}
    there |= {source: outcome(TemplateProcess(source, "the model")) for source in sources if source not in written}
    assert there == here
    assert not any("Errno" in text for _, text in there.values())


def outcome(renderer: Renderer | TemplateProcess) -> tuple[str, str]:
    """Return the kind of the outcome, and the text or the error."""
    try:
        return "text", renderer.render(VARIABLES, 10**6)
    except RenderingError as error:
        return error.kind, error.detail


@pytest.mark.process
def test_markers_in_messages_stay_text() -> None:
    """A marker that a message spells stays text in the rendering of a child, too."""
    chat = template(BENIGN["ChatML"] + "{# not known #}")
    known = template(BENIGN["ChatML"])
    known.process = None  # The template is rendered in this process.
    assert chat.process is not None
    assert chat.encode(CHAT) == known.encode(CHAT)


@pytest.mark.process
def test_half_a_character_is_refused() -> None:
    """A template that writes half a surrogate pair is an error of the request."""
    with pytest.raises(InvalidRequestError, match="half a surrogate pair"):
        template("{{ '\\ud800' }}").encode(CHAT)


@pytest.mark.process
def test_limit_grows_with_the_messages() -> None:
    """A chat that is longer than a template's own limit is rendered whole."""
    long = "é😀" * 10**6
    assert template(ECHO).render([Message("user", long)]) == long


# Processes.


def test_known_templates_need_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known templates are rendered in this process."""
    monkeypatch.setattr(subprocess, "Popen", None)
    ours = ChatTemplate(byte_tokenizer(), "the model")
    assert ours.render(CHAT).startswith("<|im_start|>system\nBe brief.")
    assert (ours.process, is_known(CHATML), is_known(CHATML + " ")) == (None, True, False)


@pytest.mark.model
@pytest.mark.parametrize("name", ["qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"])
def test_catalog_templates_are_known(name: str) -> None:
    """A model's template has the SHA-256 of the catalog, and both processes render alike."""
    path = Store(load_settings().cache).find(name)
    assert path is not None
    source = GGUF(path).get("tokenizer.chat_template", "")
    assert catalog()[name].chat_template_sha256
    assert is_known(source)
    assert template(source).process is None
    assert TemplateProcess(source, name).render(VARIABLES, 10**6) == template(source).render(CHAT)


@pytest.mark.process
def test_child_is_replaced(short_clock: None) -> None:
    """A dead child costs at most one text, and a working child is kept."""
    chat = template(ECHO)
    assert chat.process is not None
    with pytest.raises(InvalidRequestError, match=LATE):
        chat.render([Message("user", "spin")])
    assert chat.render([Message("user", "a")]) == "a"
    first = chat.process.pid
    assert chat.render([Message("user", "b")]) == "b"
    assert first is not None
    assert chat.process.pid == first
    os.kill(first, signal.SIGKILL)
    until(lambda: chat.process is not None and chat.process.pid is None)
    assert chat.render([Message("user", "c")]) == "c"


@pytest.mark.process
def test_child_that_dies_or_writes_nonsense_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gets a sentence if the child dies within a text or writes no valid reply."""
    for program in (
        "print('nonsense')",
        "print('[]')",
        'print(\'{"kind": "odd"}\')',
        "raise SystemExit(7)",
        "print('[' * 10**4)",
    ):
        monkeypatch.setattr(
            pellucid.system.isolated_python, "BOOTSTRAP", f"import sys; sys.stdin.readline(); {program}"
        )
        with pytest.raises(
            InvalidRequestError,
            match=r"The chat template of the model breaks the process that renders it .*use completions",
        ):
            template(ECHO).render([Message("user", "a" * 10**6)])


@pytest.mark.process
def test_child_that_stops_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped child is killed at the limit of wall time."""
    chat = template(ECHO)
    chat.render(CHAT)
    assert chat.process is not None
    stopped = chat.process.pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    monkeypatch.setattr(pellucid.text.template_process, "WALL_SECONDS", 0.5)
    with pytest.raises(InvalidRequestError, match=r"takes longer than 0\.5 seconds"):
        chat.render(CHAT)
    assert not is_alive(stopped)


@pytest.mark.process
def test_models_of_one_base_share_a_process() -> None:
    """A model with an adapter renders chats in the child of the base, under the adapter's name."""
    base = template("{{ raise_exception('no') }}")
    variant = ChatTemplate(byte_tokenizer(chat_template="{{ raise_exception('no') }}"), "the model:mine", base)
    assert variant.process is base.process is not None
    with pytest.raises(InvalidRequestError, match="The chat template of the model:mine refuses these messages: no"):
        variant.render(CHAT)


@pytest.mark.process
def test_child_has_no_files_sockets_or_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has no files, no sockets, no settings of the server, and ends with its template."""
    monkeypatch.setenv("PELLUCID_API_KEY", "hunter2")
    chat = template(ECHO)
    chat.render(CHAT)
    assert chat.process is not None
    assert b"hunter2" not in Path(f"/proc/{chat.process.pid}/environ").read_bytes()
    assert sorted(path.name for path in Path(f"/proc/{chat.process.pid}/fd").iterdir()) == ["0", "1", "2"]
    program = (
        "import socket\nfrom pellucid.system.isolated_python import limit\nlimit(2**29)\n"
        "for use in (lambda: open('/etc/hostname'), socket.socket):\n"
        "    try:\n        use()\n    except OSError as error:\n        print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": folder()}
    )
    assert done.stdout.split() == ["24", "24"], done.stderr
    pid = chat.process.pid
    assert pid is not None
    assert is_alive(pid)
    del chat
    gc.collect()
    until(lambda: not is_alive(pid))


def folder() -> str:
    return str(Path(pellucid.text.template_process.__file__).parents[2])


# Servers.


@pytest.fixture
def two_models() -> Iterator[tuple[str, LocalAssistant]]:
    """Return the address and the assistant of a server with three models."""
    decoder = to_decoder(tiny_llama(vocab_size=256 + len(MARKERS) + len(WORDS), max_position_embeddings=2048))
    sources = {"spins": ECHO, "plain": BENIGN["Llama 3"], "long": "x" * 10**6}
    models = [served_model(name, byte_tokenizer(chat_template=source)) for name, source in sources.items()]
    engine = LocalEngine(dict.fromkeys(sources, decoder), EngineSettings(slots=4, context=1024, chunk=64, queue=64))
    assistant = LocalAssistant(engine, models)
    state = ServerState(models=("spins",), grace=0.0)
    state.open(assistant, engine)
    with live(state) as server:
        yield server.url, assistant
    engine.close()


def ask(url: str, model: str, content: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 1}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE, trust_env=False)


@pytest.mark.process
def test_others_are_answered_meanwhile(two_models: tuple[str, LocalAssistant], monkeypatch: pytest.MonkeyPatch) -> None:
    """A spinning template delays neither /health nor the chats of a second model."""
    monkeypatch.setattr(pellucid.text.template_process, "WALL_SECONDS", PATIENCE)
    monkeypatch.setattr(model_thread, "MAX_WAIT_SECONDS", PATIENCE)
    url, assistant = two_models
    assert ask(url, "spins", "Hi").status_code == 200
    process = assistant.models.find("spins").template.process
    assert process is not None
    child = process.pid
    assert child is not None
    # A stopped child is like an endless loop, but without a race with the time limit.
    os.kill(child, signal.SIGSTOP)
    replies: list[httpx.Response] = []
    hung = [threading.Thread(target=lambda: replies.append(ask(url, "spins", "Hi"))) for _ in range(20)]
    for thread in hung:
        thread.start()
    try:
        assert httpx.get(f"{url}/health", timeout=PATIENCE, trust_env=False).status_code == 200
        assert ask(url, "plain", "Hi").status_code == 200
        assert ask(url, "plain", "Hi " * 200).status_code == 200
        assert replies == []
    finally:
        os.kill(child, signal.SIGCONT)
        for thread in hung:
            thread.join(PATIENCE)
    assert [reply.status_code for reply in replies] == [200] * 20


@pytest.mark.process
def test_spinning_template_is_a_400(short_clock: None, two_models: tuple[str, LocalAssistant]) -> None:
    """Every route that renders a chat answers with the sentence and 400, and then recovers."""
    url, _ = two_models
    body = {"model": "spins", "messages": [{"role": "user", "content": "spin"}]}
    for route in ("/v1/chat/completions", "/apply-template"):
        reply = httpx.post(f"{url}{route}", json=body, timeout=PATIENCE, trust_env=False)
        assert reply.status_code == 400
        assert "The chat template of spins takes" in reply.json()["error"]["message"]
    assert ask(url, "spins", "Hi").status_code == 200


def test_template_that_is_too_long_is_not_listed(two_models: tuple[str, LocalAssistant]) -> None:
    """A model with a template of a million characters is listed without chat."""
    url, _ = two_models
    models = httpx.get(f"{url}/v1/models", timeout=PATIENCE, trust_env=False).json()["data"]
    listed = {model["id"]: (model["meta"]["chat"], model["meta"]["chat_template"]) for model in models}
    assert listed == {"spins": (True, ECHO), "plain": (True, BENIGN["Llama 3"]), "long": (False, None)}
    reply = ask(url, "long", "Hi")
    assert (reply.status_code, "has 1,000,000 characters" in reply.json()["error"]["message"]) == (501, True)


@pytest.mark.process
def test_child_of_a_killed_process_ends() -> None:
    """The child of a process that is killed while a template spins ends by itself."""
    program = f"from pellucid.text.template_process import TemplateProcess as T\nT({SPIN!r}, 'tiny').render({{}}, 99)"
    parent = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": folder()})
    try:
        until(lambda: children_of(parent.pid, RENDERER) != set())
        (child,) = children_of(parent.pid, RENDERER)
        assert parent.poll() is None
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not is_alive(child))


def test_server_ends_while_a_template_spins(tmp_path: Path) -> None:
    """A spinning template delays neither /health nor the server's exit, and its child ends."""
    model = tmp_path / "tiny"
    tiny_llama(vocab_size=320).save_pretrained(model)
    write_folder(model, byte_level_bpe(320), {"chat_template": SPIN})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    own = {
        "PELLUCID_CACHE": str(tmp_path / "cache"),
        "PELLUCID_DATA": str(tmp_path / "data"),
        "PELLUCID_QUANT": "none",  # Nothing is compiled.
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "pellucid", "serve", "--port", str(port), "--no-page", "--model", str(model)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
    try:
        until(lambda: is_healthy(url, server))
        # Loading and listing a model renders nothing.
        assert children_of(server.pid, RENDERER) == set()
        asking = threading.Thread(target=ask_and_forget, args=(url,))
        asking.start()
        until(lambda: children_of(server.pid, RENDERER) != set())
        (child,) = children_of(server.pid, RENDERER)
        assert httpx.get(f"{url}/health", timeout=PATIENCE, trust_env=False).status_code == 200
        server.terminate()
        status = server.wait(PATIENCE)
        asking.join(PATIENCE)
        until(lambda: not is_alive(child))
    finally:
        server.kill()
        server.wait()
    assert status == 0, (tmp_path / "log").read_text()


def is_healthy(url: str, server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None, "the server has ended"
    try:
        return httpx.get(f"{url}/health", timeout=PATIENCE, trust_env=False).status_code == 200
    except httpx.ConnectError:  # The server does not listen yet.
        return False


def ask_and_forget(url: str) -> None:
    try:
        ask(url, "tiny", "Hi")
    except httpx.HTTPError:  # The server was killed.
        return
