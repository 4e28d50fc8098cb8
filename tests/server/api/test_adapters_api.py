"""Adapters are loaded, unloaded and requested by the model's name over HTTP, under load too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest

from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.door.api_keys import read_keys
from pellucid.engine.decoders.decoder import Decoder
from pellucid.errors import NotFoundError
from pellucid.models.store import Store
from pellucid.serving.adapter_loading import LoadedAdapters
from pellucid.text.query_ids import chat_text
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import CompletionQuery, Extra, SamplingParams
from pellucid.vocabulary.token import Token
from support.models.tiny_adapters import random_adapter, write_adapter
from support.servers.http_servers import (
    ADAPTER,
    TINY,
    TINY_PLAIN,
    LiveServer,
    live,
    live_scripted,
    tiny_adapters,
    tiny_assistant,
)

VARIANT = f"{TINY}:{ADAPTER}"
TWENTY = SamplingParams(max_tokens=20, ignore_eos=True)


@pytest.fixture
def adapters(tmp_path: Path) -> Iterator[LoadedAdapters]:
    """Return two tiny models, and an adapter in the store."""
    assistant, engine = tiny_assistant(queue=500)
    yield tiny_adapters(assistant, engine, tmp_path / "cache")
    engine.close()


@pytest.fixture
def server(adapters: LoadedAdapters) -> Iterator[LiveServer]:
    """A server for a single test."""
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(adapters.models.assistant, adapters.models.engine, adapters)
    with live(state) as server:
        yield server


@pytest.fixture
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        yield client


def another(store: Store, name: str, adapters: LoadedAdapters, seed: int = 1) -> Path:
    model = adapters.models.engine.model(TINY)
    assert isinstance(model, Decoder)
    return write_adapter(store.adapters / name, random_adapter(model.config, seed=seed))


def completion(http: httpx.Client, model: str, **fields: Any) -> Any:
    body = {
        "model": model,
        "prompt": "def add",
        "max_tokens": 8,
        "temperature": 0,
        "ignore_eos": True,
        "logprobs": 2,
        **fields,
    }
    return http.post("/v1/completions", json=body)


def generated(reply: Any) -> list[str]:
    """Return the tokens of an answer."""
    tokens: list[str] = reply["choices"][0]["logprobs"]["tokens"]
    return tokens


def problem(response: httpx.Response) -> tuple[int, str, str]:
    """Return an error's status, type and sentence."""
    error = response.json()["error"]
    assert error["code"] == response.status_code
    return response.status_code, error["type"], error["message"]


def test_load_serve_unload(http: httpx.Client) -> None:
    """A loaded adapter is a listed model with different answers, until unloaded."""
    before = completion(http, TINY).json()
    loaded = http.post("/v1/adapters", json={"name": ADAPTER})

    assert loaded.status_code == 200
    one = loaded.json()
    assert (one["id"], one["base"], one["loaded"], one["rank"], one["scale"]) == (VARIANT, TINY, True, 4, 2.0)
    answer = completion(http, VARIANT).json()
    assert (answer["model"], len(generated(answer))) == (VARIANT, 8)
    assert generated(completion(http, TINY).json()) == generated(before) != generated(answer)

    gone = http.delete(f"/v1/adapters/{VARIANT}")
    assert gone.json() == one | {"id": None, "loaded": False}
    assert problem(completion(http, VARIANT)) == (
        404,
        "not_found_error",
        f"There is no model '{VARIANT}' here; use one of: {TINY}, {TINY_PLAIN}.",
    )
    assert problem(http.delete(f"/v1/adapters/{VARIANT}"))[0] == 404


def test_the_own_name_of_an_adapter_that_is_gone(tmp_path: Path) -> None:
    """A single model answers to any name except the name of an unloaded adapter."""
    assistant, engine = tiny_assistant(alone=True)
    loaded = tiny_adapters(assistant, engine, tmp_path / "cache")
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine, loaded)
    with live(state) as server:
        server.http.post("/v1/adapters", json={"name": ADAPTER})
        assert completion(server.http, ADAPTER).json()["model"] == VARIANT
        server.http.delete(f"/v1/adapters/{ADAPTER}")
        assert completion(server.http, "gpt-4o").json()["model"] == TINY
        assert problem(completion(server.http, ADAPTER)) == (
            404,
            "not_found_error",
            f"There is no model '{ADAPTER}' here; use one of: {TINY}.",
        )
    engine.close()


def test_listed_as_a_model(http: httpx.Client) -> None:
    """/v1/models has the base, the adapter and the bytes of a variant."""
    http.post("/v1/adapters", json={"name": ADAPTER, "model": TINY})

    models = {model["id"]: model["meta"] for model in http.get("/v1/models").json()["data"]}
    assert list(models) == [TINY, TINY_PLAIN, VARIANT]
    assert (models[VARIANT]["base"], models[VARIANT]["adapter"]) == (TINY, ADAPTER)
    assert (models[TINY]["base"], models[TINY]["adapter"]) == (None, None)
    assert (
        0 < models[VARIANT]["memory"]["weights"] < http.get("/v1/adapters").json()["data"][0]["size"]
    )  # The file has a header in addition.
    # Two slots of four.
    assert models[VARIANT]["memory"]["cache_limit"] * 2 == models[TINY]["memory"]["cache_limit"]
    assert "an adapter of rank 4" in models[VARIANT]["description"]
    assert http.get(f"/v1/models/{VARIANT}").json()["meta"] == models[VARIANT]
    assert 'pellucid_running{model="' + VARIANT + '"} 0' in http.get("/metrics").text
    assert http.get("/props", params={"model": VARIANT}).json()["total_slots"] == 2


@pytest.mark.parametrize("model", [VARIANT, ADAPTER])
def test_every_route_takes_it(http: httpx.Client, model: str) -> None:
    """Every route accepts a variant's id and the adapter's name alone."""
    http.post("/v1/adapters", json={"name": ADAPTER})
    chat = [{"role": "user", "content": "hi"}]
    asked: dict[str, dict[str, Any]] = {
        "/v1/completions": {"prompt": "a", "suffix": "b", "max_tokens": 2},
        "/v1/chat/completions": {"messages": chat, "max_tokens": 2},
        "/v1/score": {"text": "some text"},
        "/infill": {"input_prefix": "a", "input_suffix": "b", "n_predict": 2},
        "/completion": {"prompt": "a", "n_predict": 2},
        "/tokenize": {"content": "a"},
        "/detokenize": {"tokens": [65]},
    }
    for route, body in asked.items():
        reply = http.post(route, json=body | {"model": model})
        if route == "/v1/chat/completions":  # The tiny models have no template.
            assert reply.status_code in (200, 501), reply.text
            continue
        assert reply.status_code == 200, reply.text
        if "model" in reply.json():
            assert reply.json()["model"] == VARIANT


def test_list_tells_what_could_be_loaded(http: httpx.Client, adapters: LoadedAdapters) -> None:
    """The list has loaded adapters, then the folder's adapters, with problems."""
    another(adapters.store, "another", adapters)
    broken = another(adapters.store, "broken", adapters)
    (broken / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    http.post("/v1/adapters", json={"name": ADAPTER})

    found = http.get("/v1/adapters").json()["data"]

    assert [(one["name"], one["loaded"], one["id"]) for one in found] == [
        (ADAPTER, True, VARIANT),
        ("another", False, None),
        ("broken", False, None),
    ]
    assert (
        found[2]["problem"]
        == f"The adapter in {broken} is of the type 'IA3', but only LORA is supported: train it as LoRA."
    )
    assert "problem" not in found[1]


def test_a_second_load_takes_what_lies_there_now(http: httpx.Client, adapters: LoadedAdapters) -> None:
    """Loading an adapter again serves the current content of the folder."""
    http.post("/v1/adapters", json={"name": ADAPTER})
    first = generated(completion(http, VARIANT).json())
    another(adapters.store, ADAPTER, adapters, seed=9)
    assert generated(completion(http, VARIANT).json()) == first

    assert http.post("/v1/adapters", json={"name": ADAPTER}).status_code == 200

    assert generated(completion(http, VARIANT).json()) != first
    assert len(http.get("/v1/models").json()["data"]) == 3


def test_one_adapter_on_two_models(http: httpx.Client) -> None:
    """An adapter may be loaded with several models; the adapter's name alone is then unknown."""
    for model in (TINY, TINY_PLAIN):
        assert http.post("/v1/adapters", json={"name": ADAPTER, "model": model}).json()["id"] == f"{model}:{ADAPTER}"

    assert completion(http, f"{TINY_PLAIN}:{ADAPTER}").status_code == 200
    assert problem(completion(http, ADAPTER))[0] == 404


def test_refusals(http: httpx.Client, adapters: LoadedAdapters) -> None:
    """An impossible load or unload is refused with a sentence and the right status."""
    folder = another(adapters.store, "unfit", adapters)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    cases: list[tuple[httpx.Response, int, str]] = [
        (
            http.post("/v1/adapters", json={"name": "other"}),
            404,
            f"There is no adapter 'other' in {adapters.store.adapters}; use one of: {ADAPTER}, unfit.",
        ),
        (http.post("/v1/adapters", json={"name": "../" + ADAPTER}), 404, "There is no adapter"),
        (http.post("/v1/adapters", json={"name": ADAPTER, "model": "gpt-5"}), 404, "There is no model 'gpt-5' here"),
        (
            http.post("/v1/adapters", json={"name": "unfit"}),
            400,
            f"The adapter in {folder} was trained with use_dora, which is not supported: train it without.",
        ),
        (
            http.post("/v1/adapters", json={"name": ADAPTER, "path": "/etc"}),
            400,
            "path is not supported by /v1/adapters: omit it.",
        ),
        (http.post("/v1/adapters", json={}), 400, "name is required."),
        (http.delete(f"/v1/adapters/{TINY}"), 404, f"{TINY} is a model, not an adapter"),
        (http.delete("/v1/adapters/nothing"), 404, "There is no model 'nothing' here"),
    ]
    for response, status, message in cases:
        assert problem(response)[0] == status
        assert problem(response)[2].startswith(message)
    http.post("/v1/adapters", json={"name": ADAPTER})
    assert problem(http.post("/v1/adapters", json={"name": ADAPTER, "model": VARIANT})) == (
        400,
        "invalid_request_error",
        f"{VARIANT} already has an adapter: name its base, {TINY}.",
    )


def test_without_memory(http: httpx.Client, adapters: LoadedAdapters, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory for a cache the reply is 503, and nothing has changed."""

    def refuse(*arguments: object, **options: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(adapters.models.engine, "add_model", refuse)
    assert problem(http.post("/v1/adapters", json={"name": ADAPTER})) == (
        503,
        "unavailable_error",
        f"There is not enough memory for the cache of {VARIANT}: unload another model or adapter.",
    )
    assert len(http.get("/v1/models").json()["data"]) == 2


def test_vllm_routes(http: httpx.Client, adapters: LoadedAdapters) -> None:
    """vLLM's routes load, replace and unload an adapter of the store, and refuse other folders."""
    path = str(adapters.store.adapters / ADAPTER)
    for given in (path, ADAPTER):
        loaded = http.post("/v1/load_lora_adapter", json={"lora_name": "sql", "lora_path": given})
        assert (loaded.status_code, loaded.text) == (200, "Success: LoRA adapter 'sql' added successfully.")
        assert completion(http, "sql").json()["model"] == f"{TINY}:sql"
        again = http.post("/v1/load_lora_adapter", json={"lora_name": "sql", "lora_path": given})
        assert problem(again)[::2] == (400, "The adapter sql is already loaded: send load_inplace to replace it.")
        assert (
            http.post(
                "/v1/load_lora_adapter", json={"lora_name": "sql", "lora_path": given, "load_inplace": True}
            ).status_code
            == 200
        )
        gone = http.post("/v1/unload_lora_adapter", json={"lora_name": "sql"})
        assert (gone.status_code, gone.text) == (200, "Success: LoRA adapter 'sql' removed successfully.")
        assert completion(http, "sql").status_code == 404
    for elsewhere in ("/etc", str(adapters.store.root), path + "/../../.."):
        refused = http.post("/v1/load_lora_adapter", json={"lora_name": "sql", "lora_path": elsewhere})
        assert problem(refused)[0] == 403
    assert problem(http.post("/v1/load_lora_adapter", json={"lora_name": "a:b", "lora_path": ADAPTER}))[0] == 400
    assert problem(http.post("/v1/unload_lora_adapter", json={"lora_name": "sql"}))[0] == 404


def test_key_and_origin(adapters: LoadedAdapters) -> None:
    """Loading and unloading need the server's key, and pages of other sites are refused."""
    state = ServerState(models=(TINY,), grace=0.0, keys=read_keys("secret"))
    state.open(adapters.models.assistant, adapters.models.engine, adapters)
    with live(state) as server:
        calls: list[tuple[str, str, dict[str, str] | None]] = [
            ("GET", "/v1/adapters", None),
            ("POST", "/v1/adapters", {"name": ADAPTER}),
            ("DELETE", f"/v1/adapters/{ADAPTER}", None),
            ("POST", "/v1/load_lora_adapter", {"lora_name": ADAPTER, "lora_path": ADAPTER}),
            ("POST", "/v1/unload_lora_adapter", {"lora_name": ADAPTER}),
        ]
        for method, path, body in calls:
            assert server.http.request(method, path, json=body).status_code == 401
            key = {"authorization": "Bearer secret"}
            assert (
                server.http.request(
                    method, path, json=body, headers=key | {"origin": "https://evil.example"}
                ).status_code
                == 403
            )
            assert server.http.request(method, path, json=body, headers=key).status_code == 200


def test_without_a_folder_of_adapters() -> None:
    """A server without a store, and a loading server, refuse with a sentence."""
    with live_scripted() as server:
        assert problem(server.http.get("/v1/adapters"))[::2] == (
            501,
            "This server has no folder of adapters: start it with --adapter to serve one.",
        )
    with live(ServerState(models=(TINY,))) as server:
        assert problem(server.http.post("/v1/adapters", json={"name": ADAPTER}))[0] == 503


async def test_client_cannot_tell_near_from_far(server: LiveServer, adapters: LoadedAdapters) -> None:
    """The client loads, lists, uses and unloads adapters, with the assistant's cards."""
    async with Client(server.url) as client:
        assert (await client.administration.load_adapter(ADAPTER))["id"] == VARIANT
        assert await client.cards() == adapters.models.assistant.models.cards()
        assert [one["id"] for one in await client.administration.adapters()] == [VARIANT]
        items = [item async for item in client.complete(CompletionQuery("x", "y", params=TWENTY, model=VARIANT))]
        assert isinstance(items[-1], Finish)
        assert (await client.administration.unload_adapter(VARIANT))["loaded"] is False
        with pytest.raises(NotFoundError):
            await client.administration.unload_adapter(VARIANT)
        with pytest.raises(NotFoundError, match="There is no adapter 'other'"):
            await client.administration.load_adapter("other")


@pytest.mark.slow
async def test_hot_swap_under_load(server: LiveServer, adapters: LoadedAdapters) -> None:
    """Swapping an adapter fails no answer, and changes no other model's answers."""
    another(adapters.store, "stays", adapters, seed=3)
    over = asyncio.Event()

    async def swap(client: Client) -> int:
        swaps = 0
        while not over.is_set():
            another(adapters.store, ADAPTER, adapters, seed=swaps)
            await client.administration.load_adapter(ADAPTER, TINY)
            running = [asyncio.ensure_future(whole(client, VARIANT, text)) for text in TEXTS]
            await client.administration.load_adapter(ADAPTER, TINY)  # The previous adapter still answers.
            await asyncio.gather(*running)
            await client.administration.unload_adapter(VARIANT)
            swaps += 1
        return swaps

    async with Client(server.url) as client:
        stays = (await client.administration.load_adapter("stays"))["id"]
        expected = {model: [await whole(client, model, text) for text in TEXTS] for model in (TINY, stays)}
        swapping = asyncio.ensure_future(swap(client))
        work = [(model, number) for _ in range(2) for model in (TINY, stays) for number in range(len(TEXTS))]
        answers = await asyncio.gather(*(whole(client, model, TEXTS[number]) for model, number in work))
        over.set()
        assert await swapping > 0

    for (model, number), answer in zip(work, answers, strict=True):
        assert answer == pytest.approx(expected[model][number], abs=1e-4), (model, number)


TEXTS = ["def add(a, b):\n    ", "import os\n" * 5, "x = [", "class Reader:\n    def __init__(self"]


async def whole(client: Client, model: str, text: str) -> list[float]:
    """Return the logprobs of a whole streamed answer."""
    items = [item async for item in client.complete(CompletionQuery(text, params=TWENTY, model=model, heal=False))]
    finish = items.pop()
    assert isinstance(finish, Finish)
    assert finish.reason is FinishReason.LENGTH
    return [item.logprob for item in items if isinstance(item, Token) and item.logprob is not None]


async def test_unloading_waits_for_no_answer(server: LiveServer, adapters: LoadedAdapters) -> None:
    """A streamed infill of an unloaded adapter continues to the end."""
    body = {
        "input_prefix": "def add",
        "input_suffix": "\n",
        "n_predict": 60,
        "ignore_eos": True,
        "stream": True,
        "n_probs": 1,
    }
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as http:
        await http.post("/v1/adapters", json={"name": ADAPTER})
        async with http.stream("POST", "/infill", json=body | {"model": VARIANT}) as response:
            lines = (line async for line in response.aiter_lines() if line.startswith("data: "))
            await anext(lines)
            assert (await http.delete(f"/v1/adapters/{VARIANT}")).status_code == 200
            assert (await http.post("/infill", json=body | {"model": VARIANT})).status_code == 404
            rest = [json.loads(line.removeprefix("data: ")) async for line in lines]
    assert not any("error" in event for event in rest)
    assert rest[-1]["stop"] is True
    assert "def add" in rest[-1]["prompt"]
    assert rest[-1]["model"] == VARIANT


async def test_unloaded_while_it_is_loaded_anew(adapters: LoadedAdapters, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unloading during a reload waits for the reload, and removes the model."""
    await adapters.load(ADAPTER)
    added, wait = asyncio.Event(), asyncio.wrap_future

    async def slowly(future: Future[None]) -> None:
        await wait(future)
        added.set()
        for _ in range(50):
            await asyncio.sleep(0)

    monkeypatch.setattr(asyncio, "wrap_future", slowly)
    again = asyncio.create_task(adapters.load(ADAPTER))
    await added.wait()
    _, removed = await adapters.unload(ADAPTER)
    await again
    await wait(removed)
    assert VARIANT not in [card.name for card in adapters.models.assistant.models.cards()]


def test_messages_and_extras_reach_a_variant(adapters: LoadedAdapters) -> None:
    """A variant has the base's abilities, and the same prompts."""

    async def ask() -> None:
        await adapters.load(ADAPTER)
        assistant = adapters.models.assistant
        card = next(card for card in assistant.models.cards() if card.name == VARIANT)
        base = next(card for card in assistant.models.cards() if card.name == TINY)
        assert (card.infill, card.files, card.chat, card.context) == (base.infill, base.files, base.chat, base.context)
        extra = [Extra("a.py", "x = 1")]
        items = [
            item
            async for item in assistant.complete(
                CompletionQuery("a", "b", extra, SamplingParams(max_tokens=3), model=VARIANT)
            )
        ]
        assert isinstance(items[-1], Finish)
        assert await assistant.infill_prompt(
            CompletionQuery("a", "b", extra, model=VARIANT)
        ) == await assistant.infill_prompt(CompletionQuery("a", "b", extra, model=TINY))
        if base.chat:
            chat = [Message("user", "hi")]
            variant, tiny = assistant.models.find(VARIANT), assistant.models.find(TINY)
            assert await chat_text(variant, chat) == await chat_text(tiny, chat)

    asyncio.run(ask())
