"""A stand-in for ``pellucid serve`` that starts at once, and only listens and reports health.

Run as a script; files in the folder FAKE configure the behaviour, even during the run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("FAKE", "."))
MODELS = {"object": "list", "data": [{"id": "fake", "owned_by": "pellucid"}]}


class Handler(BaseHTTPRequestHandler):
    """Answers as ``pellucid serve`` does."""

    def do_GET(self) -> None:
        """Answer /health and /v1/models."""
        key = os.environ.get("PELLUCID_API_KEY")
        if self.path == "/health":
            details = FOLDER / "unready.json"
            if details.exists():
                details_json = json.loads(details.read_text())
                self._reply(503, {"error": {"message": "Loading model", "code": 503, "pellucid": details_json}})
            else:
                self._reply(200, {"status": "ok"})
        elif key and self.headers["authorization"] != f"Bearer {key}":
            self._reply(
                401, {"error": {"message": "The API key is wrong: send a key that this server accepts.", "code": 401}}
            )
        else:
            self._reply(200, MODELS)

    def do_POST(self) -> None:
        """Answer /models/load: all models are loaded."""
        self._reply(200, {"success": True})

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Record the start, then fail or serve as configured by files."""
    options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    with (FOLDER / "starts").open("a") as starts:
        starts.write(f"{os.getpid()} {json.dumps(sys.argv[1:])}\n")
    if (FOLDER / "fails").exists():
        sys.exit((FOLDER / "fails").read_text())
    if (FOLDER / "stubborn").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server = ThreadingHTTPServer((options["--host"], int(options["--port"])), Handler)
    server.serve_forever()


if __name__ == "__main__":
    main()
