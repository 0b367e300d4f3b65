"""Health over HTTP, for the machines that start and stop workers.

`/live`     the process is worth keeping: 503 once the event loop has made no progress for a minute
`/ready`    it takes in work: 503 while it starts or drains, without database, or while the loop stands still
`/metrics`  for Prometheus, where that is on

Served by the standard library in a thread of its own, so that it answers while a task blocks the loop.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self

from openqueue.errors import ConfigError
from openqueue.events import Events
from openqueue.worker.events import ServiceRecovered, ServiceStumbled
from openqueue.worker.worker import Worker

__all__ = ["DEAD_AFTER", "STUCK_AFTER", "Facts", "HealthServer", "Told", "Verdict", "facts_of", "judge"]

STUCK_AFTER: Final = 15.0
"""Seconds without progress of the event loop (a lease) after which a process is not ready."""

DEAD_AFTER: Final = 60.0
"""The same, after which it is not alive: the bound at which others give a frozen worker up."""

SLOWEST_CLIENT: Final = 5.0
"""Seconds that a client may take over its request."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer: whether all is well, and what is not."""

    ok: bool
    faults: tuple[str, ...] = ()


Metrics = Callable[[str], tuple[bytes, str]]


class Told(Protocol):
    """What can be served: whether it is alive and whether it is ready, and itself as JSON."""

    def judged(self) -> tuple[Verdict, Verdict]: ...
    def told(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What a process knows of itself, asked for at each request, from another thread.

    state      'starting', 'running' or 'draining'; of one whose process has ended, 'restarting'
    database   whether the last word from the database was a good one; None: there was none yet
    loop_idle  seconds since the event loop last made progress
    running    attempts that run now
    worker     the worker's name or id
    """

    state: Literal["starting", "running", "draining", "restarting"]
    database: bool | None
    loop_idle: float = 0.0
    running: int = 0
    worker: str = ""

    def judged(self) -> tuple[Verdict, Verdict]:
        """Whether it is alive, and whether it is ready."""
        return judge(self)

    def told(self) -> dict[str, Any]:
        """It as JSON."""
        return {
            "state": self.state,
            "database": self.database,
            "loop_idle": round(self.loop_idle, 3),
            "running": self.running,
            "worker": self.worker,
        }


def facts_of(worker: Worker, bus: Events, *, heartbeat: float) -> Callable[[], Facts]:
    """How to ask a worker; `heartbeat` is how often it beats, in seconds.

    The database's last word is a good one while beats arrive; the first that fails is heard of at once.
    """
    failing: set[str] = set()
    bus.subscribe(ServiceStumbled, lambda event: failing.add(event.service))
    bus.subscribe(ServiceRecovered, lambda event: failing.discard(event.service))

    def facts() -> Facts:
        pulse, now = worker.pulse, time.monotonic()
        return Facts(
            state="draining" if pulse.draining else "running" if pulse.beaten else "starting",
            database="heartbeat" not in failing and now - pulse.beaten < 2 * heartbeat + 5,
            loop_idle=now - pulse.progress,
            running=pulse.running(),
            worker=worker.name,
        )

    return facts


def judge(facts: Facts) -> tuple[Verdict, Verdict]:
    """Whether the process is alive, and whether it is ready."""
    stands = f"the event loop has made no progress for {facts.loop_idle:.0f} s"
    dead = (stands,) if facts.loop_idle >= DEAD_AFTER else ()
    faults = [stands] if facts.loop_idle >= STUCK_AFTER else []
    if facts.state != "running":
        faults.append(f"the worker is {facts.state}")
    if facts.database is False:
        faults.append("the database cannot be reached")
    return Verdict(not dead, dead), Verdict(not faults, tuple(faults))


class HealthServer:
    """Serves what `facts` says, while entered. Port 0 lets the system choose; see `address`.

    `metrics` answers what /metrics is, and its type, for what the client accepts; None: there is none.
    Raises ConfigError when the address cannot be listened on.
    """

    def __init__(
        self, host: str, port: int, facts: Callable[[], Told], metrics: Metrics | None = None
    ) -> None:
        self._wanted = (host, port)
        self._facts = facts
        self._metrics = metrics
        self._server: _Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on."""
        assert self._server is not None, "enter the HealthServer first"
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def __enter__(self) -> Self:
        host, port = self._wanted
        try:
            self._server = _Server(self._wanted, self._facts, self._metrics)
        except OSError as error:
            raise ConfigError(
                f"health: cannot listen on {host}:{port}: {error.strerror or error}. Choose another address."
            ) from None
        serve = self._server.serve_forever
        Thread(target=serve, args=(0.1,), name="openqueue-health", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], facts: Callable[[], Told], metrics: Metrics | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.facts = facts
        self.metrics = metrics
        super().__init__(address, _Answer)

    def server_bind(self) -> None:
        """As the base does, without asking the name service what we are called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Answer(BaseHTTPRequestHandler):
    server: _Server
    server_version = "openqueue"
    sys_version = ""
    timeout = SLOWEST_CLIENT

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].rstrip("/")
        if path == "/metrics":
            self._send_metrics()
            return
        if path not in ("/live", "/ready"):
            self._send(HTTPStatus.NOT_FOUND, {"error": "not found", "paths": ["/live", "/ready", "/metrics"]})
            return
        facts = self.server.facts()
        verdict = facts.judged()[path == "/ready"]
        status = HTTPStatus.OK if verdict.ok else HTTPStatus.SERVICE_UNAVAILABLE
        self._send(status, {"ok": verdict.ok, "faults": list(verdict.faults), **facts.told()})

    def _send_metrics(self) -> None:
        if self.server.metrics is None:
            how = "metrics are off: start the worker with --metrics (OPENQUEUE_METRICS=on)"
            self._send(HTTPStatus.NOT_FOUND, {"error": how})
            return
        page, kind = self.server.metrics(self.headers.get("Accept", ""))
        self._send_body(HTTPStatus.OK, page, kind)

    do_HEAD = do_GET  # noqa: N815  the standard library's names

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base refuses by itself is refused in the same manner."""
        self._send(HTTPStatus(code), {"error": message or HTTPStatus(code).phrase.lower()})

    def log_message(self, *_said: Any) -> None:
        """Probes come every few seconds: they are not logged."""

    def _send(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        self._send_body(status, (json.dumps(body) + "\n").encode(), "application/json")

    def _send_body(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
