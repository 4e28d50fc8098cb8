"""Tests that no route of the page accepts a path to read, copy or fetch files."""

from __future__ import annotations

import gzip
import tempfile
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.hosting.gradio_host import pellucid_view
from pellucid_webui.routes import chat, conversation_list
from support.page.small_page_server import paged

pytestmark = pytest.mark.slow

SECRET = "the-secret-of-the-server's-user"
FILE = {"_type": "gradio.FileData"}

ROUTES = {
    "chat": tuple(chat.ACTIONS),
    "turn": ("",),
    "conversations": tuple(conversation_list.ACTIONS),
    "models": ("",),
    "compare": ("compare", "row", "chat", "export", "open"),
    "compare/batch": ("choose", "start", "resume", "export", "open"),
    "infill": ("open", "reliability", "complete"),
    "read": ("open", "read", "file", "part", "export"),
    "review": ("judge", "show", "refresh"),
}

FIELDS = (
    "id",
    "name",
    "data",
    "text",
    "file",
    "files",
    "form",
    "node",
    "nodes",
    "model",
    "second",
    "before",
    "tab",
    "key",
)

SETTINGS = TurnSettings().record()

EXPORTED = {
    "name": "one.json",
    "data": b64encode(gzip.compress(b'[{"role": "user", "content": "Hi"}]')).decode(),
    "settings": SETTINGS,
}


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


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    return folder


def test_no_route_takes_a_path(tmp_path: Path, temporary: Path) -> None:
    """No path or address in any field of any action is read, fetched or copied."""
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    made = 0
    with canary() as (address, asked_of_canary), paged(tmp_path / "data", pellucid_view) as server:
        server.wait()
        id = server.call("conversations", verb="import", **EXPORTED)["opens"]
        found = files([str(secret), f"file://{secret}", "../secret.txt", address])
        for route, verbs in ROUTES.items():
            for verb, hidden in product(verbs, [*found, [found[0]], {"value": [found[0]]}]):
                fields = dict.fromkeys(FIELDS, hidden)
                asked = {**fields, "verb": verb, "conversation": id, "settings": SETTINGS | {"system": hidden}}
                answer = server.http.post(f"/page/{route}", json=asked)
                assert SECRET not in answer.text, (route, verb)
                made += 1
    assert made > 500
    assert asked_of_canary == []
    assert list(temporary.iterdir()) == []
