"""Misbehaving clients: half a request, an endless body, a reset in the middle of a stream."""

from __future__ import annotations

import json
import selectors
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

HEAD = (
    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
    "Content-Type: {kind}\r\n{length}{more}\r\n"
)

BODY_TYPES = {"/login": "application/x-www-form-urlencoded"}
"""Content types of the routes without JSON."""


@contextmanager
def connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Open connections that send nothing, and close the connections at the end."""
    with ExitStack() as opened:
        yield [opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(count)]


def head(port: int, path: str, size: int | None, more: Sequence[str] = ()) -> bytes:
    """Return the headers of a POST request with a body of this size, or of unknown size."""
    length = "Transfer-Encoding: chunked\r\n" if size is None else f"Content-Length: {size}\r\n"
    kind = BODY_TYPES.get(path, "application/json")
    return HEAD.format(
        path=path, port=port, kind=kind, length=length, more="".join(f"{line}\r\n" for line in more)
    ).encode()


def push(sockets: Sequence[socket.socket], data: bytes, seconds: float = 5.0, quiet: float = 0.3) -> int:
    """Send as much data on each socket as the server takes, and return the total of bytes.

    The end is reached after ``quiet`` seconds without progress.
    """
    view, sent, total = memoryview(data), dict.fromkeys(sockets, 0), 0
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            one.setblocking(False)
            selector.register(one, selectors.EVENT_WRITE)
        end = time.monotonic() + seconds
        while selector.get_map() and time.monotonic() < end:
            ready = selector.select(quiet)
            if not ready:
                break
            for key, _ in ready:
                ours = key.fileobj
                assert isinstance(ours, socket.socket)
                try:
                    count = ours.send(view[sent[ours] : sent[ours] + 2**18])
                except OSError:  # The server refused the data.
                    count = 0
                sent[ours] += count
                total += count
                if not count or sent[ours] == len(data):
                    selector.unregister(ours)
    for one in sockets:
        one.setblocking(True)
        one.settimeout(30)
    return total


def received(connection: socket.socket) -> bytes:
    """Return the server's data until the connection is closed or reset."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def reset(connection: socket.socket) -> None:
    """Break a connection off as a crash does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stream_request(port: int, path: str, body: dict[str, object], more: Sequence[str] = ()) -> bytes:
    """Return a whole request for a stream."""
    data = json.dumps(body).encode()
    return head(port, path, len(data), more) + data


def resident_bytes(process: int | str = "self") -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024
