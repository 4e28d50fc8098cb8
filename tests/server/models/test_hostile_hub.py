"""Hostile answers of a hub are a sentence each, and write nothing outside of the model's folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import ModelError
from pellucid.models import hub as client
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from support.models.stand_in_hub import StandInHub, serve

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


@pytest.fixture
def models(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


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
