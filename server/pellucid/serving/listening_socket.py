"""The listening socket of a server."""

from __future__ import annotations

import errno
import signal
import socket

from pellucid.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise _not_here(host, error) from None
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(signal, "SIGHUP"):  # On Windows this option would let two servers share the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise _not_here(host, error) from None
        reason = error.strerror or str(error)
        raise ConfigError(
            f"Cannot listen on port {port} of {host} ({reason.lower()}): stop the program that uses it, or choose "
            "another --port."
        ) from None
    return listener


def _not_here(host: str, error: OSError) -> ConfigError:
    return ConfigError(f"The host {host} is not an address of this machine ({error.strerror}): choose another --host.")
