"""Commands list, merge and remove adapters, and load adapters into a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pellucid.api.server_state import ServerState
from pellucid.config import load_settings
from pellucid.errors import ConfigError, NotFoundError
from pellucid.models.calibrations import CalibrationFile
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.serving.assemble import assemble
from pellucid.system.atomic_files import human
from pellucid.system.progress import Silent
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from support.models.model_files import byte_level_bpe, write_folder
from support.models.tiny_adapters import random_adapter, write_adapter
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.http_servers import ADAPTER, TINY, LiveServer, live, tiny_adapters, tiny_assistant

VOCAB = 320
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the store of the settings; no server listens at the port."""
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PELLUCID_PORT", "1")
    return Store(tmp_path / "cache")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    tiny_llama(vocab_size=VOCAB).save_pretrained(folder)
    return write_folder(folder, byte_level_bpe(VOCAB))


@pytest.fixture
def mine(store: Store, base: Path) -> Path:
    """Return an adapter for the base model, in the store."""
    adapter = random_adapter(to_decoder(tiny_llama(vocab_size=VOCAB)).config)
    return write_adapter(store.adapters / "mine", adapter, origin={"base": str(base)})


@pytest.fixture
def server(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """Run a server at the port of the settings, with an adapter in the folder."""
    assistant, engine = tiny_assistant()
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine, tiny_adapters(assistant, engine, store.root))
    with live(state) as server:
        monkeypatch.setenv("PELLUCID_PORT", str(server.port))
        yield server
    engine.close()


def test_list(run: Run, store: Store, mine: Path, base: Path) -> None:
    """Without a server, the list has this machine's adapters and a broken adapter's problem."""
    broken = write_adapter(store.adapters / "old", random_adapter(to_decoder(tiny_llama()).config), use_dora=True)

    code, out, _ = run("adapters", "list")

    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "4" in lines["mine"].split()
    assert lines["mine"].split()[-1] == lines["old"].split()[-1] == "no"
    assert out.endswith(
        f"\nThe adapter in {broken} was trained with use_dora, which is not supported: train it without.\n"
    )


def test_load_and_unload(run: Run, server: LiveServer) -> None:
    """The commands talk to the running server, and the list names the served model."""
    assert run("adapters", "load", ADAPTER)[:2] == (0, f"{ADAPTER} is loaded as the model {TINY}:{ADAPTER}.\n")
    assert f"{TINY}:{ADAPTER}" in run("adapters", "list")[1]
    code, out, _ = run("adapters", "unload", ADAPTER)
    assert (code, out) == (0, f"{ADAPTER} is unloaded from {TINY}; running answers finish.\n")
    code, _, told = run("adapters", "unload", ADAPTER)
    assert code == 1
    assert told.startswith(f"pellucid: There is no model '{ADAPTER}' here")


def test_load_without_a_server(run: Run, mine: Path) -> None:
    """Without a running server, loading fails and names `pellucid serve`."""
    code, out, told = run("adapters", "load", "mine")
    assert (code, out) == (1, "")
    assert told.endswith("pellucid: No server answers at http://127.0.0.1:1: start one with pellucid serve.\n")


@pytest.mark.process
def test_merge(run: Run, mine: Path, base: Path, tmp_path: Path, store: Store) -> None:
    """The merge finds the adapter's base model, and `load` reads the written folder."""
    code, out, _ = run("adapters", "merge", "mine", tmp_path / "merged", "--dtype", "float32")

    assert code == 0
    assert out.endswith(
        f"Wrote {base} with mine to {tmp_path / 'merged'}: pellucid serve --model {tmp_path / 'merged'}\n"
    )
    assert load(str(tmp_path / "merged"), device="cpu", store=store, progress=Silent()).name == "merged"
    code, _, told = run("adapters", "merge", mine, tmp_path / "merged")
    assert (code, told) == (1, f"pellucid: {tmp_path / 'merged'} already exists: name another folder, or delete it.\n")


def test_merge_fetches_nothing(run: Run, store: Store, tmp_path: Path) -> None:
    """A missing base model is not downloaded; an adapter without a base needs --model."""
    adapter = random_adapter(to_decoder(tiny_llama()).config)
    write_adapter(store.adapters / "far", adapter, origin={"base": "org/name"})
    write_adapter(store.adapters / "anyone", adapter)

    _, _, far = run("adapters", "merge", "far", tmp_path / "merged")
    _, _, anyone = run("adapters", "merge", "anyone", tmp_path / "merged")

    assert far.startswith(
        "pellucid: org/name, which far was made for, is not on this machine: download it with `pellucid "
        "models pull org/name`"
    )
    assert anyone == "pellucid: The adapter anyone does not state its base model: name the model with --model.\n"


def test_remove(run: Run, store: Store, mine: Path) -> None:
    """An adapter's folder is deleted, and a path outside of the adapters' folder is refused."""
    for name in ("..", "../models", "", "other"):
        code, _, told = run("adapters", "remove", name)
        assert code == 1
        assert told.endswith(
            f"pellucid: There is no adapter {name!r} in {store.adapters}: `pellucid adapters list` "
            "shows the adapters.\n"
        )
    code, out, _ = run("adapters", "remove", "mine")
    assert code == 0
    assert out.startswith("mine was removed; ")
    assert not mine.exists()
    assert store.adapters.is_dir()


def test_remove_what_was_saved_with_it(run: Run, store: Store, mine: Path) -> None:
    """An adapter's prefixes and calibrations are deleted; other models' files stay."""

    def edits_path(model: str, form: str) -> Path:
        return CalibrationFile(store.calibration_path(model, form), "").of_edits().path

    kinds = (store.prefixes_path, store.calibration_path, edits_path)
    gone = [path(model, "int8+mine") for path in kinds for model in ("org/base", "tiny")]
    gone.append(gone[0].with_suffix(".safetensors.17.part"))
    stay = [path("tiny", form) for path in kinds for form in ("int8", "mine", "int8+mine.2", "int8+not-mine")]
    for path in [*gone, *stay]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"what users typed")
    size = sum(path.stat().st_size for path in [*gone, *mine.iterdir()])

    code, out, _ = run("adapters", "remove", "mine")

    assert (code, out) == (0, f"mine was removed; {human(size)} freed.\n")
    kept = [path for kind in ("prefixes", "calibrations") for path in (store.root / kind).rglob("*") if path.is_file()]
    assert sorted(kept) == sorted(stay)


class TestAssemble:
    def test_setting(self, store: Store, base: Path, mine: Path, tmp_path: Path) -> None:
        """Adapters follow the models, with own slots; `assemble` ignores the settings' adapters."""
        elsewhere = write_adapter(
            tmp_path / "elsewhere", random_adapter(to_decoder(tiny_llama(vocab_size=VOCAB)).config, seed=1)
        )
        settings = load_settings(context=64, slots=3, adapter_slots=2)

        engine, assistant = assemble(settings, [str(base)], Silent(), adapters=("mine", str(elsewhere)))
        engine.close()

        assert [card.name for card in assistant.models.cards()] == ["tiny", "tiny:mine", "tiny:elsewhere"]
        assert [len(engine.status(card.name).slots) for card in assistant.models.cards()] == [3, 2, 2]

        engine, assistant = assemble(load_settings(adapters=("mine",), context=64), [str(base)], Silent())
        engine.close()
        assert [card.name for card in assistant.models.cards()] == ["tiny"]

    def test_name_with_an_adapter(self, store: Store, base: Path, mine: Path) -> None:
        """A model name with an adapter makes the variant the default, followed by the base."""
        engine, assistant = assemble(load_settings(context=64), [f"{base}:mine"], Silent())
        engine.close()

        assert [card.name for card in assistant.models.cards()] == ["tiny:mine", "tiny"]
        assert assistant.models.find(None).name == "tiny:mine"

    def test_two_of_one_name(self, store: Store, base: Path, mine: Path, tmp_path: Path) -> None:
        """Two adapters of the same name are refused, as is a missing adapter."""
        other = write_adapter(
            tmp_path / "other" / "mine", random_adapter(to_decoder(tiny_llama(vocab_size=VOCAB)).config)
        )

        with pytest.raises(ConfigError, match="would both be served as tiny:mine"):
            assemble(load_settings(context=64), [str(base)], Silent(), adapters=("mine", str(other)))
        with pytest.raises(NotFoundError, match="There is no adapter 'yours'"):
            assemble(load_settings(context=64), [str(base)], Silent(), adapters=("yours",))

    async def test_saved_prefixes(self, store: Store, base: Path, mine: Path) -> None:
        """A variant's KV prefixes are saved when the engine closes, and read at the next start."""
        settings = load_settings(context=128)
        computed: list[int] = []
        for _ in range(2):
            engine, assistant = assemble(settings, [str(base)], Silent(), adapters=("mine",), with_saved_prefixes=True)
            async for item in assistant.complete(
                CompletionQuery(list(range(100)), params=SamplingParams(max_tokens=1), model="tiny:mine")
            ):
                computed += [item.usage.computed] if isinstance(item, Finish) else []
            await asyncio.to_thread(engine.close)

        assert computed == [100, 1]
        (saved,) = (store.root / "prefixes").iterdir()
        assert saved.stem.endswith("+mine")
