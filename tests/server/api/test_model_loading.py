"""Models are loaded on request and unloaded over HTTP, within a budget of memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import ollama
import pytest
from filelock import FileLock

from pellucid.client.http_client import Client
from pellucid.client.model_table import cells
from pellucid.config import load_settings
from pellucid.door.user_assistant import UserAssistant
from pellucid.door.users import UserLimits, Users
from pellucid.engine.decoders.decoder import Decoder
from pellucid.errors import QueueFullError
from pellucid.models.catalog import catalog
from pellucid.models.store import Store
from pellucid.serving import cache_fit
from pellucid.serving.model_facts import model_facts
from pellucid.serving.model_loading import LoadedModels
from pellucid.serving.saved_speeds import Speed, add_speeds
from pellucid.system.progress import Progress
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from pellucid.vocabulary.token import Token
from pellucid_webui.routes.models import LoadsRoute
from support.models.stand_in_hub import StandInHub, serve
from support.models.tiny_adapters import random_adapter, write_adapter
from support.servers.http_servers import LiveServer, live_scripted
from support.servers.loadable_models import FIRST, SECOND, THIRD, downloaded, held_loading, serving

BODY = {"prompt": "def add", "max_tokens": 8, "temperature": 0, "ignore_eos": True, "logprobs": 1}
LONG = CompletionQuery("def", params=SamplingParams(max_tokens=200, ignore_eos=True, temperature=0), model=FIRST)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return downloaded(tmp_path / "cache")


@pytest.fixture
def server(cache: Path) -> Iterator[LiveServer]:
    with serving(cache) as (server, _):
        yield server


def states(http: httpx.Client, field: str = "value") -> dict[str, str | None]:
    return {one["id"]: one["status"].get(field) for one in http.get("/models").json()["data"]}


def loaded(http: httpx.Client) -> Sequence[str]:
    return [name for name, state in states(http).items() if state == "loaded"]


def answer(http: httpx.Client, model: str | None) -> Any:
    reply = http.post("/v1/completions", json=BODY | {"model": model})
    assert reply.status_code == 200, reply.text
    return reply.json()["model"], reply.json()["choices"]


def unload(http: httpx.Client, model: str) -> None:
    """Unload a model, and wait until the model is unloaded."""
    assert http.post("/models/unload", json={"model": model}).json() == {"success": True}
    while states(http)[model] == "unloading":
        pass


def test_load_answer_unload(server: LiveServer) -> None:
    """A known model is loaded by the first request, and again by a request after unloading."""
    http = server.http
    assert states(http) == {FIRST: "loaded", SECOND: "unloaded", THIRD: "unloaded"}
    first = answer(http, FIRST)
    second = answer(http, SECOND)
    assert (first[0], second[0]) == (FIRST, SECOND)
    assert first[1] != second[1]
    assert loaded(http) == [FIRST, SECOND]

    for name in (FIRST, SECOND):
        unload(http, name)

    assert loaded(http) == []
    again = http.post("/models/unload", json={"model": FIRST})
    assert (again.status_code, again.json()["error"]["message"]) == (400, f"{FIRST} is not loaded.")
    never = http.post("/models/unload", json={"model": THIRD})
    assert (never.status_code, never.json()["error"]["message"]) == (400, f"{THIRD} is not loaded.")
    cards = http.get("/v1/models").json()["data"]
    assert [(card["id"], card["meta"]["state"]) for card in cards] == [(FIRST, "unloaded"), (SECOND, "unloaded")]
    assert answer(http, None) == first
    assert answer(http, SECOND) == second
    assert http.post("/models/load", json={"model": THIRD}).json() == {"success": True}
    assert loaded(http) == [FIRST, SECOND, THIRD]


def test_a_single_model_still_answers_to_every_name(server: LiveServer) -> None:
    """A model loaded on request changes nothing for clients with unknown names."""
    answer(server.http, SECOND)

    assert answer(server.http, "gpt-4o")[0] == FIRST


def test_unloading_keeps_prompts(server: LiveServer) -> None:
    """A model loaded again reuses the prompts from before the unloading."""
    asked = BODY | {"prompt": "def add(first, second):\n    return first + second\n" * 2, "max_tokens": 1}
    server.http.post("/v1/completions", json=asked)
    unload(server.http, FIRST)

    usage = server.http.post("/v1/completions", json=asked).json()["usage"]

    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1


def test_removed_models(cache: Path, server: LiveServer) -> None:
    """An unloaded model that was removed, or has lost the file, is refused with the remedy."""
    for name, found, status in ((SECOND, "models/org--second", 404), (THIRD, "models/org--third/model.gguf", 500)):
        answer(server.http, name)
        unload(server.http, name)
        (cache / found).rename(cache / f"gone-{status}")

        reply = server.http.post("/v1/completions", json=BODY | {"model": name})

        assert reply.status_code == status
        assert f"`pellucid models {'pull' if status == 404 else 'remove'} {name}`" in reply.json()["error"]["message"]


async def test_loading_a_leaving_model(cache: Path) -> None:
    """A model that is unloaded after an answer is loaded again before the reply."""
    with serving(cache) as (server, _):
        params = SamplingParams(max_tokens=200, ignore_eos=True, temperature=0)
        query = CompletionQuery("def", params=params, model=FIRST)
        async with Client(server.url) as client, aclosing(client.complete(query)) as items:
            await anext(items)
            await client.model_loads.unload(FIRST)
            await client.model_loads.load(FIRST)

        assert loaded(server.http) == [FIRST]


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_unknown_models(server: LiveServer, verb: str) -> None:
    """An unknown name is refused with the known names."""
    reply = server.http.post(f"/models/{verb}", json={"model": "nope"})

    assert reply.status_code == 404
    assert "There is no model 'nope'" in reply.json()["error"]["message"]


def test_the_least_recently_used_model_leaves_first(cache: Path) -> None:
    """Within the budget, models stay; beyond, the least recently used model leaves."""
    with serving(cache) as (server, loader):
        for name in (FIRST, SECOND, FIRST):
            answer(server.http, name)
        budget(loader, loader.used + size_of_file(cache) - 1)
        answer(server.http, THIRD)

        assert loaded(server.http) == [FIRST, THIRD]
        assert loader.used <= loader.budget


def test_too_large_for_the_budget(cache: Path) -> None:
    """A model larger than the budget is refused, and nothing is unloaded."""
    with serving(cache) as (server, loader):
        budget(loader, 1000)
        reply = server.http.post("/models/load", json={"model": SECOND})

        assert reply.status_code == 503
        assert "start the server with a larger --model-memory" in reply.json()["error"]["message"]
        assert loaded(server.http) == [FIRST]


def test_the_context_fits_the_memory_at_the_load(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An automatic context is fitted when a model is loaded; without memory, status 503 says so."""
    with serving(cache, context="auto", slots=1, prefix_memory=0) as (server, loader):
        monkeypatch.setattr(cache_fit, "available_memory", lambda _: 0)
        reply = server.http.post("/models/load", json={"model": SECOND})
        assert (reply.status_code, loaded(server.http)) == (503, [FIRST])
        assert "too little for 1 slots of 1024 tokens" in reply.json()["error"]["message"]

        monkeypatch.undo()
        answer(server.http, SECOND)
        assert loader.engine.context(SECOND) == loader.engine.context(FIRST) == loader.engine.model(FIRST).context


def size_of_file(cache: Path) -> int:
    return max(path.stat().st_size for path in cache.glob("**/model.gguf"))


def budget(loader: LoadedModels, size: int) -> None:
    class Small(LoadedModels):
        budget = size

    loader.__class__ = Small


async def test_never_a_model_that_answers(cache: Path) -> None:
    """A running answer ends before the model is unloaded for further requests."""
    with serving(cache) as (server, loader):
        budget(loader, loader.used + size_of_file(cache) - 1)
        async with Client(server.url) as client, aclosing(client.complete(LONG)) as items:
            tokens = [await anext(items)]
            asked = [
                asyncio.ensure_future(asyncio.to_thread(answer, server.http, name)) for name in (SECOND, FIRST, SECOND)
            ]
            tokens += [item async for item in items]
        names = [name for name, _ in await asyncio.gather(*asked)]

        assert sum(isinstance(token, Token) for token in tokens) == 200
        assert names == [SECOND, FIRST, SECOND]
        assert len(loaded(server.http)) == 1


async def test_a_request_with_several_answers(cache: Path) -> None:
    """A request with a running answer may use the model again, though the model is to leave."""
    with serving(cache) as (_, loader):
        budget(loader, loader.used + size_of_file(cache) - 1)
        user = UserAssistant(loader.assistant, Users(), "anna")
        async with aclosing(user.complete(LONG)) as items:
            await anext(items)
            loading = asyncio.ensure_future(loader.load(SECOND))
            while (await loader.list())[0].state != "unloading":
                await asyncio.sleep(0)
            further = [item async for item in user.complete(LONG)]
            assert not loading.done()
        await loading

        assert len(further) == 201
        assert [one.name for one in await loader.list() if one.state == "loaded"] == [SECOND]


async def test_limits_come_before_loading(cache: Path) -> None:
    """No model is loaded for a request beyond the limits of the user."""
    with serving(cache) as (server, loader):
        user = UserAssistant(loader.assistant, Users(UserLimits(requests=0)), "anna")
        with pytest.raises(QueueFullError):
            await anext(user.complete(CompletionQuery("def", model=SECOND)))

        assert loaded(server.http) == [FIRST]


async def test_facts(server: LiveServer, cache: Path) -> None:
    """The facts reach a client and the page; a server that loads no models has no facts."""
    add_speeds(load_settings(cache=cache), {SECOND: Speed(0.25, 1.5, 10**9, estimated=False)})
    expected = model_facts(load_settings(cache=cache, context=256))
    assert {one.name: (one.here, one.keystroke) for one in expected if one.here or one.keystroke} == {
        SECOND: (True, 0.25),
        THIRD: (True, None),
    }

    async with Client(server.url) as client:
        assert await client.model_loads.facts() == expected
        (shown,) = [one async for one in LoadsRoute(client.model_loads).facts("local", {})]
    assert shown["rows"] == [cells(one) for one in expected]
    assert {row[0] for row in shown["rows"]} == catalog().keys() | {SECOND, THIRD}

    with live_scripted() as fixed:
        async with Client(fixed.url) as client:
            assert await client.model_loads.facts() == []
    assert [one["rows"] async for one in LoadsRoute(None).facts("local", {})] == [[]]


async def test_an_adapter_keeps_the_base(cache: Path) -> None:
    """An adapter loads the base if necessary; with an adapter, the base stays in memory."""
    with serving(cache) as (server, loader):
        base = loader.engine.model(FIRST)
        assert isinstance(base, Decoder)
        write_adapter(loader.store.adapters / "mine", random_adapter(base.config))
        unload(server.http, FIRST)

        reply = server.http.post("/v1/adapters", json={"name": "mine", "model": FIRST})

        assert (reply.status_code, reply.json().get("id")) == (200, f"{FIRST}:mine")
        assert loaded(server.http)[:1] == [FIRST]
        refused = server.http.post("/models/unload", json={"model": FIRST})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
        budget(loader, loader.used + size_of_file(cache) - 1)
        reply = server.http.post("/models/load", json={"model": SECOND})
        assert (reply.status_code, "next to the loaded adapters" in reply.text) == (503, True)


async def test_keep_alive_of_the_settings(cache: Path) -> None:
    """The time without a request begins with the server, for all models."""
    with serving(cache, keep_alive=3600) as (server, _):
        async with Client(server.url) as client:
            await client.model_loads.load(SECOND)
            found = await client.model_loads.list()

        assert [(one.name, one.expires is None) for one in found] == [(FIRST, False), (SECOND, False), (THIRD, True)]


async def test_switches_lose_nothing(cache: Path) -> None:
    """Many clients get the right answers from three models in memory for a single model."""
    with serving(cache) as (server, loader):
        expected = {name: answer(server.http, name) for name in (FIRST, SECOND, THIRD)}
        budget(loader, loader.used // 3 + size_of_file(cache) - 1)
        names = [FIRST, SECOND, THIRD, SECOND] * 12
        found = await asyncio.gather(*(asyncio.to_thread(answer, server.http, name) for name in names))

        assert [one == expected[name] for name, one in zip(names, found, strict=True)] == [True] * len(names)


def test_keep_alive_of_ollama(server: LiveServer) -> None:
    """A keep_alive of 0 unloads the model after the answer; /api/ps reports a time."""
    http = server.http
    keeps = {"model": FIRST, "prompt": "x", "stream": False, "options": {"num_predict": 1}}
    assert http.post("/api/generate", json=keeps | {"keep_alive": "1h30m"}).status_code == 200
    assert http.get("/api/ps").json()["models"][0]["expires_at"] < "9999"
    assert http.post("/api/generate", json=keeps | {"keep_alive": -1}).status_code == 200
    assert http.get("/api/ps").json()["models"][0]["expires_at"] > "9999"
    assert http.post("/api/generate", json=keeps | {"keep_alive": 1e300}).status_code == 200
    assert http.get("/api/ps").json()["models"][0]["expires_at"] > "9999"
    wrong = http.post("/api/generate", json=keeps | {"keep_alive": "soon"})
    assert (wrong.status_code, wrong.json()["error"][:25]) == (400, "keep_alive is 'soon', but")

    reply = http.post("/api/generate", json={"model": FIRST, "keep_alive": "0s"})

    assert reply.json()["done_reason"] == "unload"
    while states(http)[FIRST] != "unloaded":
        pass
    assert http.get("/api/ps").json() == {"models": []}
    # The time does not count for the next loading, which would end before the first use.
    assert answer(http, FIRST)[0] == FIRST
    assert http.get("/api/ps").json()["models"][0]["expires_at"] > "9999"


def test_progress_of_loading(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """During loading, /models and /health report the step, and loaded models answer."""
    with serving(cache) as (server, _), ThreadPoolExecutor() as pool, held_loading(monkeypatch):
        asked = [pool.submit(answer, server.http, name) for name in (SECOND, THIRD)]
        expected = ["packing", "waiting for other models"]
        while sorted(filter(None, states(server.http, "activity").values())) != expected:
            pass
        answer(server.http, FIRST)

        health = server.http.get("/health").json()
        assert health["pellucid"]["loading"] == {"activity": "packing", "done": 1, "total": 4}
    assert [future.result()[0] for future in asked] == [SECOND, THIRD]


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """Return a hub with a model that is not on this machine."""
    weights = next(cache.glob("models/*third/*.gguf")).read_bytes()
    with serve(StandInHub("org/fourth", {"fourth.gguf": weights})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield hub


def test_pull_of_ollama(hub: StandInHub, server: LiveServer) -> None:
    """ollama's client downloads a model with progress; the next request loads the model."""
    third = answer(server.http, THIRD)
    with ollama.Client(host=server.url, trust_env=False) as client:
        steps = list(client.pull("hf.co/org/fourth", stream=True))
        assert client.pull("org/fourth").status == "success"
        assert client.generate("org/fourth", "x", options={"num_predict": 1}).done

    assert (steps[0].status, steps[-1].status) == ("pulling manifest", "success")
    assert answer(server.http, "org/fourth")[1] == third[1]
    assert len(hub.downloads()) == 1


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("nope", 404, "There is no model 'nope'"),
        ("org/missing", 500, "org/missing"),
        ("", 400, "The name of the model to download is missing."),
        ("gemma-3-270m", 500, "then accept them with"),
    ],
)
def test_pull_is_refused(hub: StandInHub, server: LiveServer, name: str, status: int, words: str) -> None:
    """A refusal names the model; no pull accepts the terms of a model."""
    reply = server.http.post("/api/pull", json={"model": name, "stream": False})

    assert (reply.status_code, words in reply.json()["error"]) == (status, True)


def test_waiting_downloads_delay_nothing(cache: Path, server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are loaded while more downloads wait than the event loop has threads."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with ExitStack() as stack:
        stack.enter_context(FileLock(cache / "locks" / "org--fourth.lock"))
        for _ in range(40):
            lines = stack.enter_context(server.http.stream("POST", "/api/pull", json={"model": "org/fourth"}))
            next(line for line in lines.iter_lines() if "Waiting for another process" in line)

        assert answer(server.http, SECOND)[0] == SECOND


def test_a_left_download_stops(hub: StandInHub, server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the client hangs up, the download stops."""
    stopped = Event()

    def endless(_: Store, name: str, progress: Progress) -> None:
        progress.start(name, None)
        progress.start(name, 10**12)
        try:
            while True:
                progress.advance(1)
        finally:
            stopped.set()

    monkeypatch.setattr(Store, "pull", endless)
    with server.http.stream("POST", "/api/pull", json={"model": "org/fourth"}) as stream:
        next(line for line in stream.iter_lines() if json.loads(line).get("completed"))

    assert stopped.wait(60)
