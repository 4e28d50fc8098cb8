"""Tests of adapters on a real model: swapped during answers, and merged."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pellucid.client.http_client import Client
from pellucid.config import load_settings
from pellucid.engine.decoders.decoder import Decoder, DecoderConfig
from pellucid.engine.decoders.lora_matrices import Adapter
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.errors import NotFoundError
from pellucid.models.adapter import adapt
from pellucid.models.adapter_folder import read_card
from pellucid.models.load import LoadedModel, load, open_checkpoint
from pellucid.models.merge_adapter import merge
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from pellucid.vocabulary.token import Token
from support.models.model_files import logprobs
from support.models.tiny_adapters import random_adapter, write_adapter
from support.servers.real_model_server import LOADING, is_healthy, real_models

pytestmark = pytest.mark.model

CHATTER = "smollm2-135m-instruct"
TEXT = "The capital of France is Paris, and the capital of Italy is"
TWELVE = SamplingParams(max_tokens=12, ignore_eos=True)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load(CHATTER, device="cpu", store=Store(load_settings().cache), progress=Silent())


def shape(loaded: LoadedModel) -> DecoderConfig:
    assert isinstance(loaded.model, (Decoder, NativeDecoder))
    return loaded.model.config


def small_adapter(loaded: LoadedModel, seed: int = 0) -> Adapter:
    """Return a random adapter of a trained adapter's size, which changes the text of the model."""
    return random_adapter(shape(loaded), 16, seed=seed, size=0.05)


@pytest.fixture(scope="module")
def cache(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the real models and three adapters."""
    root, real = tmp_path_factory.mktemp("cache"), load_settings().cache
    for name in ("models", "packed", "kernels", "locks"):
        (root / name).symlink_to(real / name)
    for seed in range(3):
        write_adapter(root / "adapters" / f"a{seed}", small_adapter(loaded, seed), origin={"base": CHATTER})
    return root


@pytest.fixture(scope="module")
def address(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `pellucid serve` with one adapter loaded from the start."""
    log = tmp_path_factory.mktemp("serve") / "log"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "pellucid",
        "serve",
        "--port",
        str(port),
        "--model",
        CHATTER,
        "--adapter",
        "a0",
        "--no-page",
    ]
    environment = os.environ | real_models() | {"PELLUCID_CACHE": str(cache)}
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as server:
        address = f"http://127.0.0.1:{port}"
        late = time.monotonic() + LOADING
        try:
            while not is_healthy(address):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < late, log.read_text()
                time.sleep(0.1)
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, log.read_text()


async def answer(client: Client, model: str, begun: asyncio.Event | None = None) -> list[tuple[int, float]]:
    """Return ids and logprobs of a streamed answer, and set ``begun`` at the first token."""
    items = []
    async for item in client.complete(CompletionQuery(TEXT, params=TWELVE, model=model, heal=False)):
        items.append(item)
        if begun is not None:
            begun.set()
    finish = items.pop()
    assert isinstance(finish, Finish)
    assert finish.reason is FinishReason.LENGTH
    return [(item.id, item.logprob or 0.0) for item in items if isinstance(item, Token)]


async def test_swapped_under_load(address: str) -> None:
    """Loading and unloading adapters changes no running stream of the base or of an adapter."""
    async with Client(address) as client:
        expected = {model: await answer(client, model) for model in (CHATTER, f"{CHATTER}:a0")}
        assert expected[CHATTER] != expected[f"{CHATTER}:a0"]
        running = [(model, asyncio.ensure_future(answer(client, model))) for _ in range(6) for model in expected]
        for name in ("a1", "a2", "a1"):
            loaded = await client.administration.load_adapter(name)
            begun = [asyncio.Event(), asyncio.Event()]
            own = [asyncio.ensure_future(answer(client, loaded["id"], event)) for event in begun]
            await asyncio.gather(*(event.wait() for event in begun))
            await client.administration.unload_adapter(loaded["id"])
            assert [len(each) for each in await asyncio.gather(*own)] == [12, 12]
            with pytest.raises(NotFoundError):
                await answer(client, loaded["id"])
        for model, task in running:
            ids, figures = zip(*await task, strict=True)
            expected_ids, expected_figures = zip(*expected[model], strict=True)
            assert ids == expected_ids, model
            assert figures == pytest.approx(expected_figures, abs=2e-5), model


def test_merged_is_the_variant(loaded: LoadedModel, cache: Path, tmp_path: Path) -> None:
    """A real model merged with an adapter generates like the variant, up to int8 rounding."""
    store = Store(cache)
    card = read_card(write_adapter(tmp_path / "large", random_adapter(shape(loaded), 16, size=0.5)))
    variant = adapt(loaded, card)
    ids = loaded.tokenizer.encode(TEXT * 3)

    merge(open_checkpoint(CHATTER, store=store, progress=Silent()), card, tmp_path / "merged", "bfloat16", Silent())

    merged = load(str(tmp_path / "merged"), device="cpu", store=Store(tmp_path / "cache"), progress=Silent())
    difference, effect = (
        (logprobs(variant.model, ids) - logprobs(other.model, ids)).abs().mean().item() for other in (merged, loaded)
    )
    print(f"mean difference of a logprob: variant and merged {difference:.3f}, variant and base {effect:.3f}")
    assert difference < effect / 3
    assert merged.tokenizer.encode(TEXT) == loaded.tokenizer.encode(TEXT)
    torch.testing.assert_close(torch.tensor(ids), torch.tensor(merged.tokenizer.encode(TEXT * 3)))
