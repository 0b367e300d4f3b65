"""A port for a process that is about to be started."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

_PORTS = range(15_000, 32_000)
"""Below those that a system gives to whoever asks for any: no other test gets one of these by chance."""


def free_port() -> int:
    """One on which nobody listens; who is to listen there comes later."""
    for port in random.sample(_PORTS, 100):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")
