"""The doctor reports the state of the machine, in words or in JSON, and keeps secrets."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from pellucid.cli.doctor import examine, report
from pellucid.config import Settings, load_settings
from pellucid.engine.native import calls
from pellucid.engine.native.kernel_compiler import KernelsUnavailableError
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.models.store import Store
from pellucid.system.atomic_files import human
from pellucid.system.machine import cpu_info

SUBJECTS = [
    *("pellucid", "python", "system", "torch", "device", "processor", "native kernel", "compiler", "threads", "memory"),
    *("cache", "models", "config file", "settings", "key", "port", "engines", "network"),
]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with an empty cache folder and a free port; the kernels are loaded already."""
    calls.available()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PELLUCID_PORT", str(port))
    return load_settings()


def test_json(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints every subject, with a finding for each."""
    report(as_json=True)

    findings = json.loads(capsys.readouterr().out)
    assert list(findings) == SUBJECTS
    assert all(findings.values())


def test_table(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the same subjects as the JSON."""
    report(as_json=False)

    lines = capsys.readouterr().out.splitlines()
    assert [subject for subject in SUBJECTS if any(line.startswith(subject) for line in lines)] == SUBJECTS


def test_settings_have_sources(settings: Settings, config_home: Path) -> None:
    """Each setting is listed with the value and the source."""
    (config_home / "config.toml").write_text("slots = 3\n")

    told = examine(load_settings())["settings"]

    assert f"models = {DEFAULT_MODEL}  (default)" in told
    assert f"slots = 3  (slots in {config_home / 'config.toml'})" in told
    assert f"port = {settings.port}  (PELLUCID_PORT in the environment)" in told


def test_key_stays_hidden(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The API key is hidden, since reports are pasted into issues."""
    monkeypatch.setenv("PELLUCID_API_KEY", "hunter2")

    report(as_json=True)

    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "api_key = **********  (PELLUCID_API_KEY in the environment)" in out


def test_empty_cache(settings: Settings) -> None:
    """A missing cache folder is no error, and is not created."""
    findings = examine(settings)

    assert str(findings["cache"]).startswith(f"{settings.cache}: 0 bytes used, ")
    assert findings["models"] == ["none yet"]
    assert not settings.cache.exists()


def test_kernels_are_looked_for_in_the_cache(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor keeps the native kernels in the folder of the store."""
    folders: list[Path] = []
    monkeypatch.setattr(calls, "keep_in", folders.append)

    examine(settings)

    assert folders == [Store(settings.cache).kernels]


@pytest.mark.process
def test_slow_kernels_are_reported(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor reports the reason for slow models or a slow start, with the remedy."""
    reason = "No C compiler was found: install gcc."
    monkeypatch.setattr(calls, "shared_kernels", lambda: KernelsUnavailableError(reason))
    assert examine(settings)["native kernel"] == f"not used, so models run several times slower: {reason}"

    monkeypatch.undo()
    folder = settings.cache.parent / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    unkept = calls.Kernels("portable", threads=1, folder=folder, compiler="""sh -c 'exec cc "$@" -O0' cc""")
    monkeypatch.setattr(calls, "shared_kernels", lambda: unkept)
    assert str(examine(settings)["native kernel"]).endswith(f"(mode 777): run `chmod go-w {folder}`.")


def test_cache_is_measured(settings: Settings) -> None:
    """The size of the cache is the sum of the files; links are not followed."""
    (settings.cache / "models").mkdir(parents=True)
    (settings.cache / "models" / "a").write_bytes(b"x" * 1500)
    (settings.cache / "link").symlink_to("models/a")

    assert f": {human(1500)} used, " in str(examine(settings)["cache"])


def test_port(settings: Settings) -> None:
    """The doctor distinguishes a free port from a port with a program without HTTP."""
    assert examine(settings)["port"] == f"{settings.port} is free"

    with socket.create_server(("127.0.0.1", settings.port)) as listener:
        listener.settimeout(0)
        found = examine_port_of_mute_server(settings, listener)

    assert found == f"{settings.port} is in use, not by a server that speaks HTTP"


def examine_port_of_mute_server(settings: Settings, listener: socket.socket) -> str:
    """Return the finding about the port of a server without replies."""

    def hang_up() -> None:
        listener.settimeout(30)
        for _ in range(2):  # The probe, then the request.
            listener.accept()[0].close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    found = examine(settings)["port"]
    thread.join()
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "model name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512_vnni\nmodel name\t: other\n",
            ("AMD EPYC", frozenset({"fpu", "avx2", "avx512_vnni"})),
        ),
        ("processor\t: 0\nFeatures\t: fp asimd i8mm\n", ("", frozenset({"fp", "asimd", "i8mm"}))),
        ("", ("", frozenset())),
    ],
)
def test_processor(tmp_path: Path, text: str, found: tuple[str, frozenset[str]]) -> None:
    """The processor's features are read in the formats of x86 and Arm kernels."""
    path = tmp_path / "cpuinfo"
    path.write_text(text)

    assert cpu_info(path) == found


def test_no_processor_file(tmp_path: Path) -> None:
    """Without /proc, the features are unknown and no error is raised."""
    assert cpu_info(tmp_path / "none")[1] == frozenset()
