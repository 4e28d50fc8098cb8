"""Runs tests over remote engines: ``pytest --over-fleet tests/server/api tests/webui/page``.

Two stand-in replicas compute with the same models, and the server under test is a front over the
replicas.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import ExitStack, aclosing
from functools import cache

import httpx
import pytest

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.request import Admission, Request
from pellucid.engine.token_scores import TokenScore
from pellucid.fleet.fleet import Fleet
from pellucid.fleet.join_check import PROBE, JoinCheck
from pellucid.fleet.membership import Membership, ReplicaLimits
from pellucid.models.load import LoadedModel
from pellucid.vocabulary.finish import Finish
from support.fleet.stand_in_replica import StandInReplica, listening

OPTION = "--over-fleet"

LOADING = 300.0
"""Maximum seconds for loading the engines' models."""

API = "tests/server/api/"
PAGE = "tests/webui/page/"
LOST: Mapping[str, str] = {
    f"{API}test_user_limits.py::test_every_route[/v1/embeddings]": "remote engines give no hidden states",
    f"{API}test_user_limits.py::test_every_route[/api/embed]": "the same",
    f"{API}test_user_limits.py::test_one_request_of_many_answers": "the same",
    f"{API}test_adapters_api.py": "the adapters of remote engines have tests of their own",
    f"{API}dialects/test_embeddings.py": "remote engines give no hidden states",
    f"{API}test_client_bodies.py::test_client[Continue apply": "remote engines take no prediction",
    f"{API}dialects/openai/test_prediction.py": "the same",
    f"{API}test_client_bodies.py::test_client[embeddings": "remote engines give no hidden states",
    f"{API}test_client_bodies.py::test_client[ollama embed": "the same",
    f"{API}test_client_bodies.py::test_client[openai-python embeddings": "the same",
    f"{API}test_openapi.py::test_every_example_is_valid": "the same",
    f"{API}dialects/ollama/test_ollama_client.py::test_logprobs": "the entropy is a range",
    f"{API}dialects/llama_cpp/test_llama_clients.py::test_llama_vscode_looks_around": "there are no slots",
    f"{API}dialects/llama_cpp/test_llama_clients.py::test_llama_vim_warm_up": (
        "only an answer that is not stopped tells what came from the cache"
    ),
    f"{API}dialects/test_structured_output.py::test_an_answer_that_ends_early_says_so": "a seed draws other tokens",
    f"{API}test_assistant_and_client.py::test_same_tokens[schema]": "the same",
    f"{API}dialects/tabby/test_editor_plugins.py::test_indentation_ends_a_suggestion": (
        "remote engines take temperatures up to 2"
    ),
    f"{API}test_interrupted_answers.py": "the tests watch the slots",
    f"{API}test_assistant_and_client.py::test_same_tokens[hot]": "remote engines take temperatures up to 2",
    **{
        f"{API}test_schema_fuzz.py::test_schema[{route}": "the route answers 501"
        for route in (
            "POST /v1/embeddings",
            "POST /api/embed",
            "GET /slots",
            "POST /v1/load_lora",
            "POST /v1/unload_lora",
        )
    },
    **{
        f"{API}test_schema_fuzz.py::test_schema[{method} /v1/adapters": (
            "the servers of these tests have no store of adapters"
        )
        for method in ("GET", "POST", "DELETE")
    },
    f"{PAGE}test_page_real_models.py::test_read": "the entropy is a range",
    f"{PAGE}test_page_real_models.py::test_of_what_if": "the probability of a draw is not known",
}
"""Tests of features that remote engines lack, by the beginning of their ids, with the reason."""

_is_on = False


def is_on() -> bool:
    """Return whether servers under test use remote engines."""
    return _is_on


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--over-fleet``."""
    parser.addoption(OPTION, action="store_true", help="let the servers under test be fronts over stand-in engines")


def pytest_configure(config: pytest.Config) -> None:
    """Note the choice before the first fixture."""
    global _is_on
    _is_on = bool(config.getoption(OPTION))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests of features that remote engines lack."""
    if not _is_on:
        return
    lost = [item for item in items if any(item.nodeid.startswith(name) for name in LOST)]
    config.hook.pytest_deselected(items=lost)
    items[:] = [item for item in items if item not in lost]


class StandInFleet(Fleet):
    """A fleet over two stand-in replicas, or one for a single slot, with a shared, owned engine."""

    def __init__(
        self, engine: LocalEngine, models: Sequence[LoadedModel], context: int, slots: int, queue: int
    ) -> None:
        vocabularies = {model.name: model.tokenizer.vocab_size for model in models}
        super().__init__(vocabularies, context)
        self._engine = engine
        self._servers = ExitStack()
        tokenizers = {model.name: model.tokenizer for model in models}
        count = 2 if slots > 1 else 1
        replicas = [StandInReplica(engine, tokenizers, context=engine.context(models[0].name)) for _ in range(count)]
        urls = [self._servers.enter_context(listening(replica)) for replica in replicas]
        check = JoinCheck({name: tokenizer.encode(PROBE) for name, tokenizer in tokenizers.items()}, vocabularies)
        membership = Membership(self, check, ReplicaLimits(slots // count, queue // count, None), urls)
        # The caller may have a running event loop.
        joining = threading.Thread(target=asyncio.run, args=(self._join(membership),))
        joining.start()
        joining.join()
        assert all(replica.takes_part for replica in self.replicas.values()), [
            one.problem for one in self.replicas.values()
        ]

    async def _join(self, membership: Membership) -> None:
        await membership.update()
        await self.replicas.disconnect()

    async def generate(self, model: str, request: Request) -> AsyncGenerator[Admission | TokenScore | Finish]:
        """Yield the fleet's items, and close the connections before the event loop ends."""
        try:
            async with aclosing(super().generate(model, request)) as items:
                async for item in items:
                    yield item
        finally:
            if not self._running:
                await self.replicas.disconnect()

    def close(self) -> None:
        """Refuse requests, end running requests, and stop the replicas."""
        super().close()
        self._servers.close()
        self._engine.close()


def serve_command(port: int, models: Sequence[str]) -> list[str]:
    """Return the command of a server of these models: alone, or over remote engines."""
    command = [sys.executable, "-m", "pellucid", "serve", "--port", str(port)]
    if not _is_on:
        return [*command, *(word for model in models for word in ("--model", model))]
    return [*command, f"--engine={_engine(tuple(models))}", *(word for model in models for word in ("--model", model))]


@cache
def _engine(models: tuple[str, ...]) -> str:
    """Return the address of an engine of these models that runs until the tests' end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "support.fleet.serve_stand_in", str(port), *models]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    atexit.register(process.terminate)
    late = time.monotonic() + LOADING
    url = f"http://127.0.0.1:{port}"
    while not is_healthy(url):
        assert process.poll() is None, "the engine ended"
        assert time.monotonic() < late, "the engine does not answer"
        time.sleep(0.1)
    return url


def is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
