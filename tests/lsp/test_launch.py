"""The launcher finds or starts one shared model server, restarts servers, and explains errors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus
from pellucid.errors import UnavailableError
from pellucid_lsp.editor_settings import ServerSettings
from pellucid_lsp.model_server.launch import Launcher, LauncherState, LauncherStatus
from pellucid_lsp.model_server.launcher_dependencies import MAX_PAUSE_SECONDS, LauncherDependencies
from pellucid_lsp.model_server.restart_backoff import Backoff
from pellucid_lsp.model_server.server_process import ServerRecord, command_line
from support.editors import fake_model_server
from support.editors.lsp_client import LIMIT_SECONDS, until
from support.servers.loadable_models import FIRST, SECOND, downloaded, held_loading, serving

SCRIPT = fake_model_server.__file__


@dataclass
class World:
    """A folder instead of a user's machine, with a free port."""

    folder: Path
    port: int
    around: LauncherDependencies
    launchers: list[Launcher] = field(default_factory=list)
    statuses: list[LauncherStatus] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def launcher(self, model: str = "", around: LauncherDependencies | None = None, **settings: object) -> Launcher:
        def note() -> None:
            self.statuses.append(launcher.status)

        launcher = Launcher(ServerSettings(**settings), model, note, around or self.around)  # type: ignore[arg-type]
        self.launchers.append(launcher)
        return launcher

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.around.logs / f"serve-{self.port}.log"

    def configure(self, name: str, text: str = "") -> None:
        """Configure the fake server."""
        (self.folder / name).write_text(text)

    def starts(self) -> list[tuple[int, list[str]]]:
        """Return each server start's process id and arguments."""
        path = self.folder / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), json.loads(arguments)) for pid, arguments in (line.split(" ", 1) for line in lines)]

    def by_hand(self, **variables: str) -> subprocess.Popen[bytes]:
        """Start a server as a user would."""
        command = [sys.executable, SCRIPT, "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        return subprocess.Popen(command, env={**self.around.variables, **variables})

    async def nap(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(min(seconds, 0.02))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A machine without servers; servers of the test end after the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    variables = {**os.environ, "FAKE": str(tmp_path), "PELLUCID_PORT": str(port)}
    around = LauncherDependencies(
        variables, tmp_path / "config.toml", tmp_path / "records", tmp_path / "logs", (sys.executable, SCRIPT)
    )
    world = World(tmp_path, port, around)
    world.around = replace(around, sleep=world.nap)
    yield world
    for launcher in world.launchers:
        await launcher.aclose()
    for pid, _ in world.starts():
        end(pid)


def end(pid: int) -> None:
    """Kill a server of the test, and wait for the exit."""
    if SCRIPT in command_line(pid):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # The process is no child of the test, or reaped already.
        os.waitpid(pid, 0)


def environment(pid: int, prefix: str) -> list[str]:
    """Return a process's environment variables with names that start with the prefix."""
    return [line for line in Path(f"/proc/{pid}/environ").read_text().split("\0") if line.startswith(prefix)]


async def wait_until_listening(world: World) -> None:
    async with Client(world.url) as client, asyncio.timeout(LIMIT_SECONDS):
        while (await client.server_health()).status is HealthStatus.ABSENT:
            await asyncio.sleep(0.01)


@pytest.fixture
def started_by_hand(world: World) -> Iterator[Callable[..., Awaitable[subprocess.Popen[bytes]]]]:
    processes: list[subprocess.Popen[bytes]] = []

    async def start(**variables: str) -> subprocess.Popen[bytes]:
        processes.append(world.by_hand(**variables))
        await wait_until_listening(world)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


ByHand = Callable[..., Awaitable[subprocess.Popen[bytes]]]


@pytest.mark.process
async def test_a_server_that_is_there_is_used(world: World, started_by_hand: ByHand) -> None:
    """A running server is used: no server is started, and the status is ready with its address."""
    await started_by_hand()

    client = await world.launcher().client()

    assert client.url == world.url
    assert len(world.starts()) == 1
    assert world.statuses == [
        LauncherStatus(LauncherState.READY, f"The model server at {world.url} is ready.", world.url)
    ]


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="permissions are another matter there")
@pytest.mark.parametrize("there", [False, True])
async def test_only_their_owner_reads_logs_and_records(world: World, there: bool) -> None:
    """Only the owner can read a server's log, its record and their folders, old or new."""
    record = world.around.records / f"{world.port}.json"
    if there:
        for file in (world.log, record):
            file.parent.mkdir()
            file.parent.chmod(0o755)
            file.touch()
            file.chmod(0o644)

    await world.launcher().client()

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for file in (world.log, record) for path in (file, file.parent)
    }
    assert modes == {world.log.name: 0o600, "logs": 0o700, record.name: 0o600, "records": 0o700}


@pytest.mark.process
async def test_a_server_is_started(world: World) -> None:
    """A server gets the address, the idle time and the model, and survives the editor's exit."""
    launcher = world.launcher("some-model", idle_minutes=3, api_key="hunter2")
    assert launcher.status == LauncherStatus(LauncherState.IDLE, "No model server has been asked yet.", world.url)

    client = await launcher.client()

    assert (await client.server_health()).status is HealthStatus.READY
    ((pid, arguments),) = world.starts()
    own = ["--idle-exit", "180", "--model", "some-model"]
    assert arguments == ["serve", "--host", "127.0.0.1", "--port", str(world.port), *own]
    assert [status.state for status in world.statuses] == [LauncherState.STARTING, LauncherState.READY]
    record = ServerRecord.load(world.around.records / f"{world.port}.json")
    assert record is not None
    assert record.pid == pid
    assert record.runs()
    # The key is in no command line, record, log, status or repr.
    written = [path.read_text() for folder in (world.around.records, world.around.logs) for path in folder.iterdir()]
    shown = [command_line(pid), repr(world.statuses), repr(world.around), *written]
    assert not any("hunter2" in text for text in shown)

    await launcher.aclose()
    assert os.getsid(pid) == pid
    async with Client(world.url) as other:
        assert (await other.server_health()).status is HealthStatus.REFUSED, "it runs, and asks for the key"


@pytest.mark.process
async def test_ten_launchers_start_one_server(world: World) -> None:
    """Ten simultaneous launchers start a single server, and all connect."""
    launchers = [world.launcher() for _ in range(10)]

    clients = await asyncio.gather(*(launcher.client() for launcher in launchers))

    assert len(world.starts()) == 1
    assert {client.url for client in clients} == {world.url}


@pytest.mark.process
async def test_processes_start_one_server(world: World) -> None:
    """Launchers in different processes start a single server."""
    code = "\n".join(
        [
            "import asyncio, sys",
            "from pathlib import Path",
            "from pellucid_lsp.model_server.launch import Launcher",
            "from pellucid_lsp.model_server.launcher_dependencies import LauncherDependencies",
            "from pellucid_lsp.editor_settings import ServerSettings",
            f"around = LauncherDependencies(config_file=Path({str(world.around.config_file)!r}), "
            f"records=Path({str(world.around.records)!r}),",
            f"    logs=Path({str(world.around.logs)!r}), command=(sys.executable, {SCRIPT!r}))",
            "asyncio.run(Launcher(ServerSettings(), '', lambda: None, around).client())",
        ]
    )
    root = Path(__file__).parents[2]
    environment = {**world.around.variables, "PYTHONPATH": os.pathsep.join([str(root / "server"), str(root / "lsp")])}
    processes = [await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=environment) for _ in range(2)]

    assert [await process.wait() for process in processes] == [0, 0]
    assert len(world.starts()) == 1


@pytest.mark.process
async def test_all_wait_for_one_start_and_a_cancelled_one_does_not_end_it(world: World) -> None:
    """Requests during a start share the start, even if some requests are cancelled."""
    launcher = world.launcher()
    waiting = [asyncio.create_task(launcher.client()) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()

    clients = await asyncio.gather(*waiting[1:])

    assert len(set(map(id, clients))) == 1
    assert waiting[0].cancelled()
    assert len(world.starts()) == 1


@pytest.mark.process
async def test_a_start_goes_on_when_nobody_waits(world: World) -> None:
    """A start continues if the only waiting request is cancelled."""
    launcher = world.launcher()
    waiting = asyncio.create_task(launcher.client())
    await until(lambda: launcher.status.state is LauncherState.STARTING)
    waiting.cancel()

    await until(lambda: launcher.status.state is LauncherState.READY)


@pytest.mark.process
async def test_loading_is_told(world: World) -> None:
    """During loading, each change of activity or percentage is reported once."""
    world.configure("unready.json", json.dumps({"state": "loading", "activity": "tiny.gguf", "done": 1, "total": 4}))
    launcher = world.launcher()
    waiting = asyncio.create_task(launcher.client())
    await until(lambda: launcher.status.state is LauncherState.LOADING)
    world.configure(
        "next.json", json.dumps({"state": "loading", "activity": "packing tiny (int8)", "done": 3, "total": 4})
    )
    (world.folder / "next.json").replace(world.folder / "unready.json")
    await until(lambda: launcher.status.percent == 75)
    (world.folder / "unready.json").unlink()
    await waiting

    assert world.statuses[1:-1] == [
        LauncherStatus(LauncherState.LOADING, "The model server is loading: tiny.gguf.", world.url, 25),
        LauncherStatus(LauncherState.LOADING, "The model server is loading: packing tiny (int8).", world.url, 75),
    ]


@pytest.mark.process
async def test_a_killed_server_comes_back(world: World) -> None:
    """A killed server is restarted for the next request, every time, and only once."""
    launcher = world.launcher()
    for round in range(3):
        client = await launcher.client()
        assert len(world.starts()) == round + 1
        os.kill(world.starts()[-1][0], signal.SIGKILL)
        await until(lambda: not command_line(world.starts()[-1][0]))
        launcher.lost(client)

    await launcher.client()


@pytest.mark.process
async def test_an_address_is_that_of_a_server_that_answers(world: World) -> None:
    """The address is that of a running server, also after the known server has exited."""
    launcher = world.launcher(api_key="key-of-editor")
    assert (await launcher.address()).key == "key-of-editor"
    end(world.starts()[0][0])

    assert (await launcher.address()).url == world.url
    assert len(world.starts()) == 2


@pytest.mark.process
async def test_losing_a_server_that_is_there_starts_none(world: World) -> None:
    """After failed requests the server is checked and used by a new client, without a new start."""
    launcher = world.launcher()
    first = await launcher.client()
    launcher.lost(first)
    launcher.lost(first)

    second = await launcher.client()
    launcher.lost(first)  # A late report by another request of the same client.
    assert await launcher.client() is second

    assert second is not first
    assert len(world.starts()) == 1
    # Other requests of the first client continue.
    assert (await first.server_health()).status is HealthStatus.READY


@pytest.mark.process
async def test_a_start_that_fails_is_explained(world: World) -> None:
    """A server's exit during the start is explained to all callers by the last log line."""
    world.configure(
        "fails", "Traceback of something\npellucid: Port 1 of 127.0.0.1 is not available (in use): stop what uses it."
    )
    launcher = world.launcher()
    refused = "Port 1 of 127.0.0.1 is not available (in use): stop what uses it."
    expected = f"The model server could not be started: {refused} Its log is {world.log}."

    for _ in range(2):
        results = await asyncio.gather(*(launcher.client() for _ in range(20)), return_exceptions=True)
        assert {str(result) for result in results} == {expected}
        assert all(isinstance(result, UnavailableError) for result in results)
    assert launcher.status == LauncherStatus(LauncherState.FAILED, expected, world.url)
    assert len(world.starts()) == 2
    (world.folder / "fails").unlink()
    await launcher.client()


@pytest.mark.process
async def test_failing_starts_are_spaced(world: World) -> None:
    """The delay before a start doubles each time."""
    world.configure("fails", "no")
    launcher = world.launcher(around=replace(world.around, clock=lambda: 0.0))
    for _ in range(5):
        with pytest.raises(UnavailableError, match=r"could not be started: no\. "):
            await launcher.client()

    assert [seconds for seconds in world.slept if seconds > MAX_PAUSE_SECONDS] == [1.0, 2.0, 4.0]


@pytest.mark.process
async def test_a_server_that_dies_while_it_loads(world: World) -> None:
    """A server's exit during loading raises an error and causes no second start."""
    world.configure("unready.json", json.dumps({"state": "loading"}))
    launcher = world.launcher()
    waiting = asyncio.create_task(launcher.client())
    await until(lambda: launcher.status.state is LauncherState.LOADING)
    world.log.write_text("loading\npellucid: m.gguf does not exist.\n")
    os.kill(world.starts()[0][0], signal.SIGKILL)

    with pytest.raises(
        UnavailableError, match=r"^The model server could not be started: m\.gguf does not exist\. Its log is "
    ):
        await waiting
    assert len(world.starts()) == 1


async def test_nobody_there_and_no_leave_to_start(world: World) -> None:
    """If no server may be started, the error names the remedies for the given address."""
    with pytest.raises(UnavailableError) as raised:
        await world.launcher(start=False).client()
    assert (
        str(raised.value)
        == f"No server answers at {world.url}: run `pellucid serve`, or set pellucid.server.start to true."
    )
    assert world.statuses[-1].state is LauncherState.FAILED

    with pytest.raises(
        UnavailableError, match=r"start a Pellucid server there, or set pellucid\.server\.url to another address\.$"
    ):
        await world.launcher(url=f"{world.url}/behind/a/proxy").client()
    assert world.starts() == []


@pytest.mark.process
@pytest.mark.parametrize(("key", "reason"), [("", "The API key is wrong"), ("wrong", "The API key is wrong")])
async def test_wrong_key(world: World, started_by_hand: ByHand, key: str, reason: str) -> None:
    """The error about an invalid key names the setting, and not the key."""
    await started_by_hand(PELLUCID_API_KEY="right")

    with pytest.raises(UnavailableError) as raised:
        await world.launcher(api_key=key).client()

    assert (
        str(raised.value)
        == f"The model server at {world.url} refuses this editor ({reason}): set pellucid.server.apiKey."
    )


@pytest.mark.process
@pytest.mark.parametrize("wants_key", [True, False])
async def test_the_key_of_the_settings_is_not_sent_elsewhere(
    world: World, started_by_hand: ByHand, wants_key: bool
) -> None:
    """The key of Pellucid's own settings is sent only to the own address, as the status says."""
    await started_by_hand(**({"PELLUCID_API_KEY": "secret"} if wants_key else {}))
    variables = {**world.around.variables, "PELLUCID_API_KEY": "secret", "PELLUCID_PORT": str(world.port % 65535 + 1)}
    own = f"http://127.0.0.1:{variables['PELLUCID_PORT']}"
    withheld = (
        f"The API key in Pellucid's own settings is sent only to {own}: set pellucid.server.apiKey for {world.url}."
    )
    launcher = world.launcher(around=replace(world.around, variables=variables), url=world.url)

    if wants_key:
        with pytest.raises(UnavailableError):
            await launcher.client()
        assert (
            launcher.status.message
            == f"The model server at {world.url} refuses this editor (The API key is wrong): {withheld}"
        )
    else:
        await launcher.client()
        assert launcher.status.message == f"The model server at {world.url} is ready. {withheld}"


@pytest.mark.process
async def test_a_key_in_a_file(world: World) -> None:
    """A key from a key file reaches the server as a value, without the file's variable."""
    path = world.folder / "key"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    around = replace(world.around, variables={**world.around.variables, "PELLUCID_API_KEY_FILE": str(path)})
    client = await world.launcher(around=around).client()

    assert (await client.server_health()).status is HealthStatus.READY
    (pid, arguments) = world.starts()[0]
    assert environment(pid, "PELLUCID_API_KEY") == ["PELLUCID_API_KEY=hunter2"]
    assert "hunter2" not in " ".join(arguments)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"SSH-2.0-x\r\n"])
async def test_port_of_a_stranger(world: World, greeting: bytes) -> None:
    """A port used by another program raises an error, whether the program speaks HTTP or not."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(greeting)
        writer.close()

    seconds = iter(range(1000))
    async with await asyncio.start_server(speak, "127.0.0.1", world.port):
        with pytest.raises(UnavailableError) as raised:
            await world.launcher(around=replace(world.around, clock=lambda: float(next(seconds)))).client()

    assert (
        str(raised.value)
        == f"The server at {world.url} is not Pellucid: stop it, or set pellucid.server.url to another port."
    )
    assert world.starts() == []


@pytest.mark.process
async def test_restart_stops_what_any_editor_started(world: World) -> None:
    """A restart replaces the server, even if another editor started the server."""
    await world.launcher().client()
    other = world.launcher()
    await other.client()

    await other.restart()

    (first, _), (second, _) = world.starts()
    assert not command_line(first)
    assert SCRIPT in command_line(second)
    assert other.status.state is LauncherState.READY


@pytest.mark.process
async def test_restart_of_a_server_that_will_not_leave(world: World) -> None:
    """A server without a timely exit is killed."""
    world.configure("stubborn")
    times = iter(range(10_000))
    launcher = world.launcher(around=replace(world.around, clock=lambda: float(next(times))))
    await launcher.client()

    await launcher.restart()

    assert len(world.starts()) == 2


@pytest.mark.process
async def test_restart_leaves_a_server_that_was_started_by_hand(world: World, started_by_hand: ByHand) -> None:
    """A server started by the user is not stopped: the launcher reconnects, with a message."""
    process = await started_by_hand()
    launcher = world.launcher()
    await launcher.client()

    await launcher.restart()

    assert process.poll() is None
    assert launcher.status.message == (
        f"The model server at {world.url} was started outside the editor, so it was not restarted; reconnected."
    )


@pytest.mark.process
async def test_restart_ends_no_other_process(world: World, started_by_hand: ByHand) -> None:
    """A record with a reused process id stops no process."""
    process = await started_by_hand()
    world.around.records.mkdir()
    command = (sys.executable, SCRIPT, "serve", "--host", "127.0.0.1", "--port", "1")
    ServerRecord(process.pid, command).save(world.around.records / f"{world.port}.json")

    await world.launcher().restart()

    assert process.poll() is None


@pytest.mark.process
async def test_restarts_while_it_starts(world: World) -> None:
    """Several restarts during a start end with a single server for all waiting calls."""
    launcher = world.launcher()
    waiting = asyncio.create_task(launcher.client())
    await until(lambda: len(world.starts()) == 1)

    await asyncio.gather(launcher.restart(), launcher.restart())

    assert await waiting is await launcher.client()
    assert len([pid for pid, _ in world.starts() if command_line(pid)]) == 1


@pytest.mark.process
async def test_a_leaving_server_is_waited_for(world: World) -> None:
    """A new server is started only after a server in shutdown has exited."""
    launcher = world.launcher()
    client = await launcher.client()
    world.configure("unready.json", json.dumps({"state": "leaving"}))
    launcher.lost(client)
    waiting = asyncio.create_task(launcher.client())
    await until(lambda: "shutting down" in launcher.status.message)
    assert len(world.starts()) == 1
    (world.folder / "unready.json").unlink()
    os.kill(world.starts()[0][0], signal.SIGKILL)

    await waiting


@pytest.mark.process
async def test_a_server_whose_engine_has_died_is_replaced(world: World) -> None:
    """A server with a dead engine is replaced if an editor started the server."""
    launcher = world.launcher()
    client = await launcher.client()
    world.configure("unready.json", json.dumps({"state": "failed"}))
    launcher.lost(client)
    waiting = asyncio.create_task(launcher.client())
    await until(lambda: launcher.status.state is LauncherState.STARTING)
    (world.folder / "unready.json").unlink()

    await waiting

    assert len(world.starts()) == 2


async def test_after_the_end_nothing_is_started(world: World) -> None:
    """Closing a launcher raises an error in waiting and later calls."""
    launcher = world.launcher()
    waiting = asyncio.create_task(launcher.client())
    await asyncio.sleep(0)
    await launcher.aclose()

    with pytest.raises(UnavailableError, match="is shutting down"):
        await waiting
    with pytest.raises(UnavailableError, match="is shutting down"):
        await launcher.client()


async def test_a_wrong_address_is_one_sentence(world: World) -> None:
    """An invalid address in the settings raises UnavailableError on use, not on construction."""
    launcher = world.launcher(url="localhost:8437")

    with pytest.raises(
        UnavailableError, match=r"^pellucid\.server\.url should be an address like http://127\.0\.0\.1:8437"
    ):
        await launcher.client()
    assert launcher.status.state is LauncherState.FAILED


async def test_a_folder_that_cannot_be_made(world: World) -> None:
    """A folder without a valid parent folder is reported."""
    world.configure("file")
    launcher = world.launcher(around=replace(world.around, records=world.folder / "file" / "records"))

    with pytest.raises(UnavailableError, match=r"^The folder .*records cannot be created \(Not a directory\)"):
        await launcher.client()


@pytest.mark.process
async def test_a_command_that_is_not_there(world: World) -> None:
    """A missing interpreter is reported."""
    launcher = world.launcher(around=replace(world.around, command=(str(world.folder / "gone"),)))

    with pytest.raises(
        UnavailableError, match=r"^The model server cannot be started \(No such file .*gone\): reinstall Pellucid\.$"
    ):
        await launcher.client()


class Clock:
    """A clock that moves only if set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def waits(backoff: Backoff, clock: Clock, count: int, *, ready: bool) -> list[float]:
    """Return the delays before consecutive starts."""
    found = []
    for _ in range(count):
        found.append(backoff.seconds)
        clock.now += backoff.seconds
        backoff.started()
        if ready:
            backoff.ready()
            backoff.lost()
    return found


def test_starts_that_fail() -> None:
    """The first start is immediate, and the delay then doubles up to half a minute."""
    assert waits(Backoff(clock := Clock()), clock, 9, ready=False) == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_servers_that_die_soon() -> None:
    """A server killed repeatedly after readiness is restarted within seconds each time."""
    assert waits(Backoff(clock := Clock()), clock, 9, ready=True) == [0, 0.5, 1, 2, 4, 4, 4, 4, 4]


def test_time_that_has_passed_counts() -> None:
    """Delays count from the previous start, so a server that ran longer is replaced at once."""
    backoff = Backoff(clock := Clock())
    waits(backoff, clock, 4, ready=False)
    clock.now += 3

    assert backoff.seconds == 1
    clock.now += 5
    assert backoff.seconds == 0


def test_a_sound_server_makes_good() -> None:
    """Only a minute of readiness resets the delays."""
    backoff = Backoff(clock := Clock())
    for health, starts in ((59.0, [0, 0.5, 1, 2]), (60.0, [0, 0.5, 1, 2])):
        backoff.reset()
        waits(backoff, clock, 4, ready=False)
        backoff.ready()
        clock.now += health
        backoff.lost()
        again = waits(backoff, clock, 4, ready=False)
        assert (again == starts) is (health >= 60), health


@pytest.fixture
def loading_server(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[World, Callable[[], None]]]:
    """A server that holds the loading of a model, until the function is called."""
    with ExitStack() as hold, serving(downloaded(world.folder / "cache")) as (server, _):
        hold.enter_context(held_loading(monkeypatch))
        world.port = server.port
        world.around = replace(world.around, variables={**world.around.variables, "PELLUCID_PORT": str(server.port)})
        yield world, hold.close


LOADING = "The model server is loading: packing."


async def test_the_model_of_the_settings_is_loaded(loading_server: tuple[World, Callable[[], None]]) -> None:
    """A running server loads the model of the settings, with progress in the status."""
    world, end_loading = loading_server
    launcher = world.launcher(SECOND)
    waiting = asyncio.create_task(launcher.client())
    await until(lambda: launcher.status == LauncherStatus(LauncherState.LOADING, LOADING, world.url, 25))
    end_loading()
    client = await waiting

    assert launcher.status.state is LauncherState.READY
    assert [card.name for card in await client.cards()] == [FIRST, SECOND]


async def test_a_model_that_cannot_be_loaded(loading_server: tuple[World, Callable[[], None]]) -> None:
    """The status says why the server cannot load the model of the settings."""
    world, end_loading = loading_server
    end_loading()
    (world.folder / "cache/models/org--second/model.gguf").write_bytes(b"")
    launcher = world.launcher(SECOND)

    with pytest.raises(UnavailableError, match="cannot be read as a GGUF file"):
        await launcher.client()

    assert (launcher.status.state, "GGUF" in launcher.status.message) == (LauncherState.FAILED, True)


async def test_loading_during_a_request(loading_server: tuple[World, Callable[[], None]]) -> None:
    """The status shows the loading of a model for which a request waits, then as before."""
    world, end_loading = loading_server
    launcher = world.launcher()
    client = await launcher.client()
    ready = launcher.status

    async def ask() -> None:
        with launcher.waiting():
            await client.token_ids("x", model=SECOND)

    asked = asyncio.create_task(ask())
    loading = LauncherStatus(LauncherState.LOADING, LOADING, world.url, 25)
    await until(lambda: launcher.status == loading)
    end_loading()
    await asked
    await until(lambda: launcher.status == ready)

    assert world.statuses[world.statuses.index(loading) - 1] == world.statuses[-1] == ready
