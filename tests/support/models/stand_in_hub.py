"""A local stand-in for the Hugging Face hub, with simulated network failures."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0ffee" + "0" * 34


@dataclass
class StandInHub:
    """The files of a repository, and the failures to simulate.

    ``cuts`` has the number of body bytes before each of the next downloads breaks off. ``ranges``
    is true if ranges are served. ``served`` has contents that replace listed files. ``status`` has
    answers by path instead of files.
    """

    repo: str
    files: dict[str, bytes]
    small: frozenset[str] = frozenset({"config.json", "tokenizer.json", "tokenizer_config.json"})
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    served: dict[str, bytes] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    url: str = ""

    def listing(self) -> dict[str, Any]:
        """Return the hub's answer: SHA-256 for large files, git's SHA-1 for small files."""
        siblings = []
        for name, data in self.files.items():
            git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            sibling: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git}
            if name not in self.small:
                sibling["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        return {"sha": COMMIT, "siblings": siblings, "cardData": {"license": "mit"}}

    def downloads(self) -> list[str | None]:
        """Return the range of every download so far."""
        return [wanted for path, wanted, _ in self.requests if "/resolve/" in path]


@contextmanager
def serve(hub: StandInHub) -> Iterator[StandInHub]:
    """Serve the hub on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.requests.append((path, self.headers.get("range"), self.headers.get("authorization")))
            status = next((code for part, code in hub.status.items() if part in path), None)
            name = path.removeprefix(f"/{hub.repo}/resolve/{COMMIT}/")
            if status is not None:
                self._answer(status, b"no")
            elif path == f"/api/models/{hub.repo}/revision/main":
                self._answer(200, json.dumps(hub.listing()).encode())
            elif name in hub.files:
                self._file(hub.served.get(name, hub.files[name]))
            else:
                self._answer(404, b"no")

        def _file(self, data: bytes) -> None:
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
            if not wanted or not hub.ranges:
                self._answer(200, data)
                return
            begin = int(wanted[1])
            self._answer(206, data[begin:], {"content-range": f"bytes {begin}-{len(data) - 1}/{len(data)}"})

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if "/resolve/" in self.path and hub.cuts:
                self.wfile.write(body[: hub.cuts.pop(0)])
                self.close_connection = True
                return
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
