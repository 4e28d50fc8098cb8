"""Adapters of remote engines are listed, loaded, requested, unloaded and refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.errors import AdapterError, NotFoundError, UnavailableError
from pellucid.fleet import membership
from pellucid.fleet.fleet import Fleet
from pellucid.fleet.join_check import PROBE, JoinCheck
from pellucid.fleet.membership import Membership, ReplicaLimits
from pellucid.models.adapter_folder import CONFIG, WEIGHTS
from pellucid.models.served_model import ModelFacts, ServedModel
from pellucid.models.store import Store
from pellucid.serving.engine_adapters import EngineAdapters
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from pellucid.vocabulary.token import Token
from support.fleet.fleet_servers import CONTEXT, until, wait_for_the_test
from support.fleet.stand_in_replica import StandInReplica, listening
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.http_servers import TINY, byte_tokenizer

RED, BLUE = "red weights", "blue weights"
MODEL = f"{TINY}:mine"


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    """The engine of all replicas: a model, and two models for the model with an adapter."""
    decoders = {
        name: to_decoder(tiny_llama(seed, vocab_size=byte_tokenizer().vocab_size, max_position_embeddings=2048))
        for seed, name in enumerate((TINY, RED, BLUE))
    }
    found = LocalEngine(decoders, EngineSettings(slots=8, context=CONTEXT, chunk=64))
    yield found
    found.close()


@dataclass
class Front:
    """A server's parts over replicas in the role of vLLM."""

    members: Membership
    assistant: LocalAssistant
    adapters: EngineAdapters
    urls: list[str]

    def models(self) -> list[str]:
        """Return the names of the served models."""
        return [card.name for card in self.assistant.models.cards()]

    async def check(self) -> None:
        """Check all engines, like the check of every minute."""
        for replica in self.members.replicas():
            replica.is_stale = True
        await self.members.update()

    async def answer(self, model: str = MODEL) -> tuple[list[int], Finish]:
        """Return the ids and the finish of an answer."""
        query = CompletionQuery("def add(a, b):", params=SamplingParams(max_tokens=6, temperature=0), model=model)
        items = [item async for item in self.assistant.complete(query)]
        assert isinstance(items[-1], Finish)
        return [item.id for item in items if isinstance(item, Token)], items[-1]


@asynccontextmanager
async def front_of(replicas: Sequence[StandInReplica], tmp_path: Path) -> AsyncIterator[Front]:
    """Serve replicas, and yield a front with the adapters mine and other in the store."""
    store, tokenizer = Store(tmp_path), byte_tokenizer()
    for name in ("mine", "other"):
        folder = store.adapters / name
        folder.mkdir(parents=True)
        (folder / CONFIG).write_text(
            json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]})
        )
        (folder / WEIGHTS).touch()
    with ExitStack() as servers:
        urls = [servers.enter_context(listening(replica)) for replica in replicas]
        fleet = Fleet({TINY: tokenizer.vocab_size}, CONTEXT, patience=0.5)
        check = JoinCheck({TINY: tokenizer.encode(PROBE)}, {TINY: tokenizer.vocab_size})
        members = Membership(fleet, check, ReplicaLimits(8, 8), urls)
        facts = ModelFacts(tokenizer.vocab_size, CONTEXT, 0, "a model elsewhere")
        assistant = LocalAssistant(fleet, [ServedModel(TINY, tokenizer, None, None, tmp_path / "tiny", facts)])
        adapters = EngineAdapters(members, assistant, store)
        members.on_update.append(adapters.sync)
        try:
            await members.update()
            yield Front(members, assistant, adapters, urls)
        finally:
            fleet.close()
            await members.close()


def replica_with(engine: LocalEngine, **settings: object) -> StandInReplica:
    return StandInReplica(engine, {TINY: byte_tokenizer()}, **settings)  # type: ignore[arg-type]


def loading(engine: LocalEngine, tmp_path: Path, weights: str = RED) -> StandInReplica:
    """Return a replica with adapter loading and a view of the folder of mine."""
    return replica_with(engine, loads_adapters=True, folders={str(Store(tmp_path).adapters / "mine"): weights})


def asked_for(replica: StandInReplica, model: str) -> int:
    """Return the number of streamed requests for a model to a replica."""
    return sum(body["model"] == model and bool(body.get("stream")) for body in replica.bodies)


async def test_adapters_that_engines_have(engine: LocalEngine, tmp_path: Path) -> None:
    """An engine's adapter is served as a model, by engines with the adapter only."""
    bare, having = replica_with(engine), replica_with(engine, adapters={"mine": RED}, parents={"mine": TINY})
    async with front_of([bare, having], tmp_path) as front:
        assert front.models() == [TINY, MODEL]
        card = front.assistant.models.cards()[1]
        assert (card.base, card.adapter, card.context) == (TINY, "mine", CONTEXT - 1)
        plain, _ = await front.answer(TINY)
        bare.bodies.clear()
        having.bodies.clear()
        for _ in range(4):
            ids, _ = await front.answer()
        assert ids != plain
        assert (asked_for(bare, "mine"), asked_for(having, "mine")) == (0, 4)
        assert all(body["cache_salt"] for body in having.bodies)

        having.adapters, having.parents = {}, {}
        await front.check()
        assert front.models() == [TINY]
        with pytest.raises(NotFoundError):
            await front.answer()
        bare.adapters, bare.parents = {"mine": RED}, {"mine": TINY}
        await front.check()
        assert (await front.answer())[0] == ids


async def test_the_same_name_with_other_weights(engine: LocalEngine, tmp_path: Path) -> None:
    """Of two different adapters with the same name, only a single engine's adapter is served."""
    replicas = [replica_with(engine, adapters={"mine": weights}, parents={"mine": TINY}) for weights in (RED, BLUE)]
    async with front_of(replicas, tmp_path) as front:
        having = [MODEL in replica.adapters for replica in front.members.replicas()]
        assert sorted(having) == [False, True]
        left_out = front.members.replicas()[having.index(False)]
        assert left_out.takes_part
        assert "Its logprobs differ" in left_out.adapter_problems[MODEL]
        for _ in range(6):
            await front.answer()
        assert asked_for(replicas[having.index(False)], "mine") == 0


async def test_names_that_cannot_be(engine: LocalEngine, tmp_path: Path) -> None:
    """An adapter with an invalid name or a model's name is not served, and has a problem."""
    names = {"../up": TINY, TINY: TINY, "stranger": "another model"}
    replica = replica_with(engine, adapters=dict.fromkeys(names, RED), parents=names)
    replica.tokenizers["another model"] = byte_tokenizer()
    async with front_of([replica], tmp_path) as front:
        assert front.models() == [TINY]
        (found,) = front.members.replicas()
        assert set(found.adapter_problems) == {f"{TINY}:../up", f"{TINY}:{TINY}"}


async def test_loading(engine: LocalEngine, tmp_path: Path) -> None:
    """Engines with a view of the folder load the adapter; the problem names all other engines."""
    replicas = [
        loading(engine, tmp_path),
        loading(engine, tmp_path),
        replica_with(engine),
        replica_with(engine, loads_adapters=True),
    ]
    async with front_of(replicas, tmp_path) as front:
        status = await front.adapters.load("mine")
        assert (status.id, status.base, status.card and status.card.rank) == (MODEL, TINY, 2)
        assert status.problem is not None
        reasons = {url: url in status.problem for url in front.urls}
        assert list(reasons.values()) == [False, False, True, True]
        assert "--enable-lora" in status.problem
        assert "must have the same path there" in status.problem
        assert [(one.name, one.id, one.problem) for one in front.adapters.list()] == [
            ("mine", MODEL, status.problem),
            ("other", None, None),
        ]
        ids, _ = await front.answer()
        for _ in range(6):
            assert (await front.answer())[0] == ids
        assert [asked_for(replica, "mine") for replica in replicas[2:]] == [0, 0]

        replicas[3].folders = dict(replicas[0].folders)
        await front.check()
        assert [MODEL in replica.adapters for replica in front.members.replicas()] == [True, True, False, True]


async def test_engines_that_restart(engine: LocalEngine, tmp_path: Path) -> None:
    """An engine without adapters serves the model, and the next check loads the adapters again."""
    replicas = [loading(engine, tmp_path), loading(engine, tmp_path)]
    async with front_of(replicas, tmp_path) as front:
        await front.adapters.load("mine")
        first, _ = await front.answer()
        for replica in replicas:
            replica.adapters, replica.parents = {}, {}
        with pytest.raises(UnavailableError, match=rf"No engine serves {MODEL} now"):
            await front.answer()
        assert [replica.takes_part for replica in front.members.replicas()] == [True, True]
        await front.members.update()
        assert (await front.answer())[0] == first
        assert [MODEL in replica.adapters for replica in front.members.replicas()] == [True, True]


async def test_loading_again(engine: LocalEngine, tmp_path: Path) -> None:
    """Loading again replaces the weights at all engines, and changes the cache salt."""
    replicas = [loading(engine, tmp_path), loading(engine, tmp_path)]
    async with front_of(replicas, tmp_path) as front:
        await front.adapters.load("mine")
        red, _ = await front.answer()
        for replica in replicas:
            replica.folders = dict.fromkeys(replica.folders, BLUE)
        status = await front.adapters.load("mine")
        assert status.problem is None
        blue, _ = await front.answer()
        assert blue != red
        assert all(replica.commands[-1][1]["load_inplace"] for replica in replicas)
        salts = [body["cache_salt"] for replica in replicas for body in replica.bodies if "cache_salt" in body]
        assert len(set(salts)) == 2


async def test_no_engine_loads(engine: LocalEngine, tmp_path: Path) -> None:
    """If no engine can load an adapter, the error has every engine's reason."""
    async with front_of([replica_with(engine), replica_with(engine, loads_adapters=True)], tmp_path) as front:
        with pytest.raises(AdapterError, match="No engine could load the adapter mine from") as failed:
            await front.adapters.load("mine")
        assert all(url in str(failed.value) for url in front.urls)
        assert front.models() == [TINY]
        await front.check()
        assert front.models() == [TINY]


async def test_names_that_are_taken(engine: LocalEngine, tmp_path: Path) -> None:
    """A model's name is refused for an adapter, and an adapter as the base of an adapter."""
    replica = loading(engine, tmp_path)
    async with front_of([replica], tmp_path) as front:
        with pytest.raises(AdapterError, match="is the name of a model"):
            await front.adapters.load("mine", name=TINY)
        await front.adapters.load("mine")
        with pytest.raises(AdapterError, match="already has an adapter"):
            await front.adapters.load("other", model=MODEL)
        with pytest.raises(NotFoundError):
            await front.adapters.load("nothing")
        replica.adapters["foreign"], replica.parents["foreign"] = RED, "another model"
        with pytest.raises(AdapterError, match="It has an adapter foreign of another model"):
            await front.adapters.load("mine", name="foreign")


async def test_unloading(engine: LocalEngine, tmp_path: Path) -> None:
    """An unloaded adapter takes no new requests; engines unload after the last answer."""
    replica, may_continue = loading(engine, tmp_path), asyncio.Event()
    async with front_of([replica], tmp_path) as front:
        await front.adapters.load("mine")
        replica.before_token = lambda sent: wait_for_the_test(may_continue, sent)
        running = asyncio.create_task(front.answer())
        await until(lambda: replica.running == 1)
        with pytest.raises(UnavailableError, match="answers of tiny:mine are running"):
            await front.adapters.load("mine")
        status, ended = await front.adapters.unload("mine")
        assert status.id == MODEL
        assert front.models() == [TINY]
        with pytest.raises(NotFoundError):
            await front.answer()
        await front.check()
        assert front.models() == [TINY]
        assert (ended.done(), [kind for kind, _ in replica.commands]) == (False, ["load"])
        with pytest.raises(UnavailableError, match="still being unloaded"):
            await front.adapters.load("mine")

        may_continue.set()
        ids, end = await running
        assert (end.reason, len(ids)) == (FinishReason.LENGTH, 6)
        assert ended.done()
        await until(lambda: not front.adapters._unloading)
        assert replica.adapters == {}
        await front.check()
        assert front.models() == [TINY]
        assert (await front.adapters.load("mine")).id == MODEL


async def test_an_engine_that_keeps_an_adapter(engine: LocalEngine, tmp_path: Path) -> None:
    """An adapter kept by an engine is still not served, and the engine's state has the reason."""
    replica = replica_with(engine, adapters={"mine": RED}, parents={"mine": TINY})
    async with front_of([replica], tmp_path) as front:
        await front.adapters.unload(MODEL)
        (found,) = front.members.replicas()
        await until(lambda: "this engine keeps it" in found.adapter_problems.get(MODEL, ""))
        await front.check()
        assert front.models() == [TINY]
        assert "this engine keeps it" in found.adapter_problems[MODEL]


async def test_an_engine_that_was_away(engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine back from an absence gets every load, replacement and unload of the absence."""
    monkeypatch.setattr(membership, "RECHECK_SECONDS", 0.0)
    replicas = [loading(engine, tmp_path), loading(engine, tmp_path)]
    async with front_of(replicas, tmp_path) as front:
        away = front.members.replicas()[1]

        async def absent(change: Callable[[], object]) -> None:
            replicas[1].tokenizers, kept = {}, replicas[1].tokenizers
            await front.members.update()
            assert not away.takes_part
            await change()  # type: ignore[misc]
            replicas[1].tokenizers = kept
            await front.members.update()

        await absent(lambda: front.adapters.load("mine"))
        assert MODEL in away.adapters
        for replica in replicas:
            replica.folders = dict.fromkeys(replica.folders, BLUE)
        await absent(lambda: front.adapters.load("mine"))
        assert MODEL in away.adapters
        assert replicas[1].adapters == {"mine": BLUE}
        await absent(lambda: front.adapters.unload("mine"))
        await front.members.update()
        assert (replicas[1].adapters, replicas[0].adapters, front.models()) == ({}, {}, [TINY])


async def test_unloading_what_no_engine_has(engine: LocalEngine, tmp_path: Path) -> None:
    """An adapter of an absent engine can be unloaded, and is not loaded again by a check."""
    replica = loading(engine, tmp_path)
    async with front_of([replica], tmp_path) as front:
        await front.adapters.load("mine")
        replica.adapters, replica.parents, replica.folders, folders = {}, {}, {}, replica.folders
        await front.check()
        assert [(one.name, one.id) for one in front.adapters.list()] == [("mine", None), ("other", None)]

        status, ended = await front.adapters.unload("mine")
        assert (status.name, ended.done()) == ("mine", True)
        with pytest.raises(NotFoundError):
            await front.adapters.unload("mine")
        await until(lambda: not front.adapters._unloading)
        replica.folders = folders
        await front.check()
        assert (replica.adapters, front.models()) == ({}, [TINY])


async def test_loading_while_an_engine_unloads(engine: LocalEngine, tmp_path: Path) -> None:
    """An adapter can be loaded while a returning engine unloads the former adapter."""
    replica, away = loading(engine, tmp_path), SlowReplica(engine, {TINY: byte_tokenizer()}, loads_adapters=True)
    away.folders = replica.folders
    async with front_of([replica, away], tmp_path) as front:
        await front.adapters.load("mine")
        away.tokenizers, kept = {}, away.tokenizers
        await front.check()
        await front.adapters.unload("mine")
        await until(lambda: not front.adapters._unloading)
        away.tokenizers = kept
        check = asyncio.create_task(front.check())
        await until(lambda: away.unloads)
        load = asyncio.create_task(front.adapters.load("mine"))
        await until(lambda: MODEL in front.members.adapters._changing)
        away.may_unload = True
        await asyncio.gather(check, load)
        assert (away.adapters, front.members.adapters.problems(MODEL), front.models()) == (
            {"mine": RED},
            {},
            [TINY, MODEL],
        )


async def test_an_engine_that_unloads_late(engine: LocalEngine, tmp_path: Path) -> None:
    """An engine that unloads an adapter when joining again has no problem."""
    replica = loading(engine, tmp_path)
    async with front_of([replica, loading(engine, tmp_path)], tmp_path) as front:
        await front.adapters.load("mine")
        replica.tokenizers, kept = {}, replica.tokenizers
        await front.check()
        await front.adapters.unload("mine")
        await until(lambda: not front.adapters._unloading)
        replica.tokenizers = kept
        await front.check()
        assert (replica.adapters, front.members.replicas()[0].adapter_problems) == ({}, {})
        assert front.members.adapters._unloaded == {}


async def test_names_with_control_characters(
    engine: LocalEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An adapter's name from an engine is shown shortened and without control characters."""
    name = "mine\n2026-11-28 INFO forged \x1b[31m" + "x" * 1000
    async with front_of([replica_with(engine, adapters={name: RED}, parents={name: TINY})], tmp_path) as front:
        (problem,) = front.members.replicas()[0].adapter_problems
        assert (problem.isprintable(), len(problem) < 400) == (True, True)
        assert all(record.getMessage().isprintable() for record in caplog.records)
        assert front.models() == [TINY]


@dataclass
class SlowReplica(StandInReplica):
    """Unloads adapters after permission; `unloads` is true from the first unload command on."""

    may_unload: bool = False
    unloads: bool = False

    async def _unload_adapter(self, request: Request) -> Response:
        self.unloads = True
        while not self.may_unload:
            await asyncio.sleep(0.01)
        return await super()._unload_adapter(request)
