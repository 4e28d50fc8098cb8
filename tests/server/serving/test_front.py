"""A server over remote engines, started and stopped like a user's server; replicas replace vLLM."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from pellucid.config import load_settings
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.errors import ConfigError, ModelError, UnavailableError
from pellucid.learn.calibrate.command import assembled, calibration_file
from pellucid.models.tokenizers.folder_tokenizer import read_tokenizer
from pellucid.serving.assemble_front import assemble_front, check_front, join_engines
from pellucid.system.progress import Silent
from support.fleet.stand_in_replica import Fault, StandInReplica, listening
from support.models.model_files import byte_level_bpe, write_folder
from support.models.tiny_models import tiny_llama, to_decoder

VOCAB = 320
NAME = "far"
OTHER = "the model with an adapter"
PATIENCE = 300
"""Seconds to wait; reached only in a failing test."""

Ports = Callable[[], int]
Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and a tokenizer, but without weights."""
    folder = write_folder(tmp_path_factory.mktemp("models") / "tiny", byte_level_bpe(VOCAB))
    (folder / "config.json").write_text(f'{{"vocab_size": {VOCAB}}}')
    return folder


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    """The engine of all replicas."""
    decoder = to_decoder(tiny_llama(vocab_size=VOCAB, max_position_embeddings=2048))
    other = to_decoder(tiny_llama(1, vocab_size=VOCAB, max_position_embeddings=2048))
    found = LocalEngine({NAME: decoder, OTHER: other}, EngineSettings(slots=8, context=1024, chunk=64))
    yield found
    found.close()


@pytest.fixture
def replicas(engine: LocalEngine, folder: Path) -> list[StandInReplica]:
    """Two replicas of a model."""
    return [StandInReplica(engine, {NAME: read_tokenizer(folder, VOCAB)}, loads_adapters=True) for _ in range(2)]


@pytest.fixture
def urls(replicas: list[StandInReplica]) -> Iterator[list[str]]:
    """The addresses of the replicas."""
    with ExitStack() as servers:
        yield [servers.enter_context(listening(replica)) for replica in replicas]


def environment(tmp_path: Path, port: int) -> dict[str, str]:
    """Return the environment of commands for the server at a port."""
    own = {"PELLUCID_CACHE": "cache", "PELLUCID_DATA": "data", "PELLUCID_ENGINES_FILE": "engines"}
    paths = {name: str(tmp_path / part) for name, part in own.items()}
    return {**os.environ, **paths, "PELLUCID_PORT": str(port), "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def fleet(engine: LocalEngine, folder: Path) -> list[StandInReplica]:
    """Two replicas for the server that several tests share."""
    return [StandInReplica(engine, {NAME: read_tokenizer(folder, VOCAB)}, loads_adapters=True) for _ in range(2)]


@pytest.fixture(scope="module")
def addresses(unused_tcp_port_factory: Ports) -> list[str]:
    """The addresses of these replicas."""
    return [f"http://127.0.0.1:{unused_tcp_port_factory()}" for _ in range(2)]


@pytest.fixture(scope="module")
def waiting() -> dict[str, httpx.Response]:
    """The replies of the shared server before there was an engine."""
    return {}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shared server's cache and data."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def front(
    fleet: list[StandInReplica],
    addresses: list[str],
    waiting: dict[str, httpx.Response],
    folder: Path,
    home: Path,
    unused_tcp_port_factory: Ports,
) -> Iterator[httpx.Client]:
    """A client of ``pellucid serve`` over the first replica, which each test leaves as it was.

    The server starts before the replicas.
    """
    port = unused_tcp_port_factory()
    words = ("serve", "--engine", addresses[0], "--model", f"{NAME}={folder}", "--no-page")
    code = "from pellucid.cli.app import app; app()"
    with (
        subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=environment(home, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as http,
        ExitStack() as servers,
    ):
        try:
            wait_until(lambda: not is_ready(http, process) and "does not answer" in health(http))
            waiting.update({path: http.get(path) for path in ("/health", "/v1/models", "/v1/engines")})
            waiting["/v1/completions"] = http.post("/v1/completions", json={"prompt": "def", "max_tokens": 4})
            for replica, address in zip(fleet, addresses, strict=True):
                servers.enter_context(listening(replica, int(address.rpartition(":")[2])))
            wait_until(lambda: is_ready(http, process) and described(http) == "vLLM 0.32.0")
            yield http
        finally:
            process.terminate()
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, b"Traceback" in errors) == (0, False), errors
    assert f"Waiting for an engine of far: {addresses[0]}." in errors.decode()
    assert output.count(b"memory at rest") == 1


def described(http: httpx.Client) -> str:
    """Return the description of the model."""
    return str(http.get("/v1/models").json()["data"][0]["meta"]["description"])


def health(http: httpx.Client) -> str:
    """Return the text of the health, or an empty text before the server listens."""
    try:
        return http.get("/health").text
    except httpx.ConnectError:
        return ""


def is_ready(http: httpx.Client, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, process.communicate()
    try:
        return http.get("/health").status_code == 200
    except httpx.ConnectError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    async def wait() -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await asyncio.sleep(0.05)

    asyncio.run(wait())


def engines(http: httpx.Client) -> list[tuple[str, str]]:
    """Return the engines and the states."""
    return [(one["id"], one["state"]) for one in http.get("/v1/engines").json()["data"]]


def test_answers_of_engines_elsewhere(front: httpx.Client, fleet: list[StandInReplica], addresses: list[str]) -> None:
    """A remote engine answers all requests, with ranks, alternatives and entropy ranges."""
    (card,) = front.get("/v1/models").json()["data"]
    assert (card["id"], card["meta"]["description"], card["meta"]["n_ctx"]) == (NAME, "vLLM 0.32.0", 1023)
    assert card["meta"]["engines"] == [addresses[0]]
    assert engines(front) == [(addresses[0], "ready")]
    assert front.get("/health").json()["pellucid"]["engines"]["data"] == front.get("/v1/engines").json()["data"]

    replies = {
        "text": front.post("/v1/completions", json={"prompt": "def", "max_tokens": 4, "temperature": 0, "logprobs": 2}),
        "infill": front.post(
            "/v1/completions", json={"prompt": "def a(", "suffix": ")\n", "max_tokens": 4, "temperature": 0}
        ),
        "score": front.post("/v1/score", json={"text": "def add(a, b):", "top_logprobs": 2}),
        "choice": front.post(
            "/completion", json={"prompt": "Say", "n_predict": 9, "json_schema": {"enum": ["yes", "no"]}}
        ),
        "embedding": front.post("/v1/embeddings", json={"input": "def"}),
        "slots": front.get("/slots"),
    }
    statuses = {name: reply.status_code for name, reply in replies.items()}
    assert statuses == {"text": 200, "infill": 200, "score": 200, "choice": 200, "embedding": 501, "slots": 501}
    (token, *_) = replies["text"].json()["choices"][0]["logprobs"]["pellucid"]
    assert token["entropy"] is None
    assert token["entropy_range"][0] <= token["entropy_range"][1]
    assert (token["sampled"], len(token["top"])) == (1.0, 2)
    assert replies["choice"].json()["content"] in ('"yes"', '"no"')
    assert f'pellucid_engine_ready{{engine="{addresses[0]}"}} 1.0' in front.get("/metrics").text
    assert len(fleet[0].bodies) > 6


def test_a_lost_engine_is_reported(front: httpx.Client, fleet: list[StandInReplica]) -> None:
    """The usage counts resumed answers; without any engine a request is refused with the reason."""
    body = {"prompt": "def", "max_tokens": 8, "temperature": 0}
    fleet[0].faults = deque([Fault("cut", 3)])
    usage = front.post("/v1/completions", json=body).json()["usage"]
    assert (usage["completion_tokens"], usage["pellucid"]["moves"]) == (8, 1)

    fleet[0].faults = deque([Fault("status", status=500)] * 40)
    fleet[0].is_well = False
    lost = front.post("/v1/completions", json=body)
    assert (lost.status_code, "No engine serves far now" in lost.text) == (503, True)
    assert front.get("/health").json()["error"]["pellucid"]["state"] == "away"
    fleet[0].faults.clear()
    wait_until(lambda: front.post("/v1/completions", json=body).status_code == 200)
    fleet[0].is_well = True
    wait_until(lambda: [state for _, state in engines(front)] == ["ready"])


def test_engines_are_added_and_removed(
    front: httpx.Client,
    addresses: list[str],
    home: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    unused_tcp_port_factory: Ports,
) -> None:
    """The commands list, add and remove engines of a running server, and report the result."""
    surround(monkeypatch, home, front)

    def told(*words: str) -> str:
        code, out, err = run("engines", *words)
        assert code == 0, err
        return out

    assert addresses[0] in told("list")
    assert "The server uses it." in told("add", addresses[1])
    assert engines(front) == [(addresses[0], "ready"), (addresses[1], "ready")]
    assert "is in" in told("add", addresses[1])
    assert f"{addresses[1]} was removed" in told("remove", addresses[1])
    assert engines(front) == [(addresses[0], "ready")]
    code, _, err = run("engines", "remove", addresses[0])
    assert (code, "stay until the server exits" in err) == (1, True)
    monkeypatch.setenv("PELLUCID_PORT", str(unused_tcp_port_factory()))
    assert addresses[0] in told("list", "--server", f"{front.base_url}")


def surround(monkeypatch: pytest.MonkeyPatch, home: Path, front: httpx.Client) -> None:
    """Let commands in this process use the server."""
    for name, value in environment(home, int(front.base_url.port or 0)).items():
        if name.startswith("PELLUCID_"):
            monkeypatch.setenv(name, value)


def test_adapters(
    front: httpx.Client, fleet: list[StandInReplica], home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Routes and commands load, list, request and unload an adapter of a remote engine."""
    folder = home / "cache" / "adapters" / "mine"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    (folder / "adapter_model.safetensors").touch()
    surround(monkeypatch, home, front)

    def told(*words: str) -> str:
        code, out, err = run("adapters", *words)
        assert code == 0, err
        return out

    refused = front.post("/v1/adapters", json={"name": "mine"})
    assert (refused.status_code, "It does not find the folder" in refused.text) == (400, True)
    fleet[0].folders = {str(folder): OTHER}
    assert f"mine is loaded as the model {NAME}:mine." in told("load", "mine")
    (base, card) = front.get("/v1/models").json()["data"]
    assert (base["id"], card["id"], card["meta"]["base"], card["meta"]["adapter"]) == (
        NAME,
        f"{NAME}:mine",
        NAME,
        "mine",
    )
    assert card["meta"]["engines"] == base["meta"]["engines"]
    assert card["meta"]["infill"] == base["meta"]["infill"]
    (engine,) = front.get("/v1/engines").json()["data"]
    assert (engine["models"], engine["adapter_problems"]) == ([NAME, f"{NAME}:mine"], {})
    (listed,) = front.get("/v1/adapters").json()["data"]
    assert (listed["id"], listed["rank"], listed["loaded"]) == (f"{NAME}:mine", 2, True)

    body = {"prompt": "def add(a, b):", "max_tokens": 8, "temperature": 0}
    texts = {
        model: front.post("/v1/completions", json=body | {"model": model}).json()
        for model in (NAME, f"{NAME}:mine", "mine")
    }
    assert (
        texts["mine"]["choices"][0]["text"]
        == texts[f"{NAME}:mine"]["choices"][0]["text"]
        != texts[NAME]["choices"][0]["text"]
    )
    assert fleet[0].bodies[-1]["model"] == "mine"

    assert "running answers finish" in told("unload", f"{NAME}:mine")
    assert front.post("/v1/completions", json=body | {"model": f"{NAME}:mine"}).status_code == 404
    wait_until(lambda: fleet[0].adapters == {})
    loaded = front.post("/v1/load_lora_adapter", json={"lora_name": "again", "lora_path": str(folder)})
    assert loaded.text == "Success: LoRA adapter 'again' added successfully."
    assert front.post("/v1/completions", json=body | {"model": "again"}).status_code == 200
    assert "running answers finish" in told("unload", f"{NAME}:again")


def test_requests_name_no_engines(front: httpx.Client, addresses: list[str]) -> None:
    """No request can add an engine, since an engine reads every prompt."""
    assert front.post("/v1/engines", json={"url": addresses[1]}).status_code == 405


@pytest.mark.parametrize(
    ("models", "engines", "sentence"),
    [
        (("=x",), ("http://a",), "must be NAME=FOLDER"),
        (("x=",), ("http://a",), "must be NAME=FOLDER"),
        (("x=y",), ("a:1",), "An engine is an address like"),
    ],
)
def test_settings_that_cannot_be_meant(models: Sequence[str], engines: Sequence[str], sentence: str) -> None:
    """Malformed models and engines are refused before any engine is asked."""
    with pytest.raises(ConfigError, match=sentence):
        check_front(load_settings(models=tuple(models), engines=tuple(engines)))


def test_a_front_before_its_engines(front: httpx.Client, waiting: dict[str, httpx.Response]) -> None:
    """A server without engines names the missing engines, and serves once an engine is there."""
    assert (waiting["/health"].status_code, waiting["/health"].json()["error"]["pellucid"]["state"]) == (503, "away")
    (card,) = waiting["/v1/models"].json()["data"]
    assert (card["id"], card["meta"]["engines"], card["meta"]["description"]) == (NAME, [], "vLLM")
    assert [one["state"] for one in waiting["/v1/engines"].json()["data"]] == ["away"]
    refused = waiting["/v1/completions"]
    assert (refused.status_code, "No engine serves far now" in refused.text) == (503, True)
    answer = front.post("/v1/completions", json={"prompt": "def", "max_tokens": 4, "temperature": 0}).json()
    assert answer["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize(
    ("name", "port", "reason"),
    [
        (NAME, 9, "http://127.0.0.1:9: http://127.0.0.1:9 does not answer"),
        ("near", None, "It serves far, and not near"),
    ],
)
def test_work_that_does_not_wait(
    folder: Path, tmp_path: Path, urls: list[str], name: str, port: int | None, reason: str
) -> None:
    """Work without a usable engine ends with the reason for each address."""
    url = urls[0] if port is None else f"http://127.0.0.1:{port}"
    settings = load_settings(models=(f"{name}={folder}",), engines=(url,), cache=tmp_path)
    with pytest.raises(UnavailableError, match=f"No engine computes {name}. .*{reason}"):
        asyncio.run(join_engines(assemble_front(settings, Silent())))


def test_calibrating_over_an_engine(
    replicas: list[StandInReplica], folder: Path, tmp_path: Path, urls: list[str]
) -> None:
    """Calibration over an engine knows the weights, independently of adapters."""
    replicas[0].parents, replicas[0].adapters = {"mine": NAME}, {"mine": OTHER}
    settings = load_settings(models=(f"{NAME}={folder}",), engines=(urls[0],), cache=tmp_path)
    _, assistant = assembled(settings)
    assert [model.name for model in assistant.models.all()] == [NAME, f"{NAME}:mine"]
    assert calibration_file(assistant).key.startswith("probe-")


def test_a_folder_without_a_configuration(tmp_path: Path, urls: list[str]) -> None:
    """A folder without config.json, and so without a vocabulary size, is refused."""
    bare = write_folder(tmp_path / "bare", byte_level_bpe(VOCAB))
    settings = load_settings(models=(f"{NAME}={bare}",), engines=(urls[0],), cache=tmp_path)
    with pytest.raises(ModelError, match=r"has no config\.json"):
        assemble_front(settings, Silent())
