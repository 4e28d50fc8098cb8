"""Tests that no event of the page accepts a path to read, copy or fetch files."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pellucid_webui.hosting import gradio_requests
from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.small_page_server import PagedServer, paged

pytestmark = pytest.mark.slow

SECRET = "the-secret-of-the-server's-user"
FILE = {"_type": "gradio.FileData"}
AT_ONCE = 16


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """Start an HTTP server; yield the address and the list of requests."""
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SECRET.encode())

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/secret.txt", calls
        finally:
            server.shutdown()
            thread.join()


def files(targets: list[str]) -> list[dict[str, Any]]:
    """Return objects that Gradio may take for a file at these places."""
    found: list[dict[str, Any]] = []
    for target in targets:
        found += [
            {"path": target, "meta": FILE},
            {"path": "secret.txt", "url": target, "meta": FILE},
            {
                "path": target,
                "url": target,
                "meta": FILE,
                "is_stream": True,
                "orig_name": "x",
                "size": 1,
                "mime_type": "text/plain",
            },
            {"path": target},
        ]
    return found


def nested(value: Any) -> list[Any]:
    """Return a value as a property, in a list, and deeply nested."""
    return [{"value": value}, [value], {"value": [{"files": [value]}]}]


def calls(config: dict[str, Any], hidden: list[Any]) -> Iterator[list[dict[str, Any]]]:
    """Yield for each event all calls with a hidden value in a single input or the event data."""
    values = {part["id"]: part["props"].get("value") for part in config["components"]}
    for event in config["dependencies"]:
        data = [values[part] for part in event["inputs"]]
        call = {"fn_index": event["id"], "trigger_id": event["targets"][0][0], "data": data, "event_data": None}
        yield [
            *[
                call | {"data": [*data[:place], value, *data[place + 1 :]]}
                for place in range(len(data))
                for value in hidden
            ],
            *[call | {"event_data": value} for value in hidden],
        ]


def outcome(server: PagedServer, calls: list[dict[str, Any]], session: str) -> tuple[set[int], str]:
    """Make calls in the same session; return the statuses, and all results as text."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(
            pool.map(
                lambda call: server.http.post("/gradio_api/queue/join", json=call | {"session_hash": session}), calls
            )
        )
    text = "".join(answer.text for answer in answers)
    if any(answer.status_code == 200 for answer in answers):
        text += server.http.get("/gradio_api/queue/data", params={"session_hash": session}).text
    return {answer.status_code for answer in answers}, text


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    return folder


@pytest.mark.parametrize("is_checked", [True, False], ids=["checked", "gradio alone"])
def test_no_event_takes_a_path(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, is_checked: bool
) -> None:
    """No path or address in any input is read, fetched or copied.

    Gradio refuses paths as well, in case a call ever passes the check.
    """
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    if not is_checked:
        monkeypatch.setattr(gradio_requests, "_has_path", lambda value: False)
        # All results of an event are read at the end.
        for limit in ("MAX_RUNNING_CALLS", "MAX_UNREAD_MESSAGES"):
            monkeypatch.setattr(f"pellucid_webui.hosting.gradio_tabs.{limit}", 10_000)
    with canary() as (address, asked_of_canary), paged(tmp_path / "data", pellucid_view) as server:
        server.wait()
        config = server.http.get("/config").json()
        made = 0
        if is_checked:
            found = files([str(secret), f"file://{secret}", "../secret.txt", address])
            hidden = [*found, *nested(found[0])]
        else:
            # A call that Gradio runs takes ten times as long.
            hidden = [{"path": str(secret), "meta": FILE}, {"path": "secret.txt", "url": address, "meta": FILE}]
        for number, event in enumerate(calls(config, hidden)):
            statuses, text = outcome(server, event, f"s{number}")
            assert SECRET not in text, event[0]["fn_index"]
            assert statuses == ({400} if is_checked else {200})
            made += len(event)

    assert made > (900 if is_checked else 100)
    assert asked_of_canary == []
    assert list(temporary.iterdir()) == []


def test_refusal(tmp_path: Path) -> None:
    """A call with a path is refused in a sentence, and the next call is answered."""
    call = {"fn_index": 0, "data": [{"path": "/etc/hostname", "meta": FILE}], "session_hash": "s1"}
    with paged(tmp_path) as server:
        server.wait()
        answer = server.http.post("/gradio_api/queue/join", json=call)
        assert server.call(0) == ["local"]

    assert (answer.status_code, json.loads(answer.text)["error"]["type"]) == (400, "invalid_request_error")
    assert answer.json()["error"]["message"].startswith("The page accepts the content of a file, not a path")
