"""The health endpoint, asked over real sockets."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

import pytest

from openqueue.errors import ConfigError
from openqueue.telemetry.health import DEAD_AFTER, STUCK_AFTER, Facts, HealthServer, judge

WELL = Facts(state="running", database=True, running=3, worker="w1")


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, Any]:
    connection = HTTPConnection(*server.address, timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else None
    finally:
        connection.close()


def test_a_worker_that_is_well_is_live_and_ready() -> None:
    with HealthServer("127.0.0.1", 0, lambda: WELL) as server:
        assert ask(server, "/live") == (200, _body(WELL))
        assert ask(server, "/ready") == (200, _body(WELL))


@pytest.mark.parametrize(
    ("facts", "live", "ready", "fault"),
    [
        (replace(WELL, state="draining"), 200, 503, "the worker is draining"),
        (replace(WELL, state="starting"), 200, 503, "the worker is starting"),
        (replace(WELL, database=False), 200, 503, "the database cannot be reached"),
        (replace(WELL, loop_idle=STUCK_AFTER), 200, 503, "the event loop has made no progress for 15 s"),
        (replace(WELL, loop_idle=DEAD_AFTER), 503, 503, "the event loop has made no progress for 60 s"),
    ],
)
def test_what_is_wrong_decides_who_is_told(facts: Facts, live: int, ready: int, fault: str) -> None:
    with HealthServer("127.0.0.1", 0, lambda: facts) as server:
        assert ask(server, "/live")[0] == live
        status, body = ask(server, "/ready")
        assert status == ready
        assert body["faults"] == [fault]


def test_several_faults_are_told_together() -> None:
    assert len(judge(Facts("draining", database=False, loop_idle=99))[1].faults) == 3


async def test_it_answers_while_a_task_blocks_the_event_loop() -> None:
    blocked_since = time.monotonic()

    def facts() -> Facts:
        return replace(WELL, loop_idle=time.monotonic() - blocked_since)

    with HealthServer("127.0.0.1", 0, facts) as server, ThreadPoolExecutor() as pool:
        status, body = pool.submit(ask, server, "/live").result(60)  # the loop stands still meanwhile
    assert status == 200
    assert body["loop_idle"] > 0


def test_other_paths_are_not_found_and_say_which_there_are() -> None:
    with HealthServer("127.0.0.1", 0, lambda: WELL) as server:
        assert ask(server, "/") == (404, {"error": "not found", "paths": ["/live", "/ready", "/metrics"]})
        assert ask(server, "/ready/?full=1")[0] == 200
        assert ask(server, "/live", "POST")[0] == 501


def test_head_answers_without_a_body() -> None:
    with HealthServer("127.0.0.1", 0, lambda: WELL) as server:
        assert ask(server, "/live", "HEAD") == (200, None)


def test_a_client_that_says_nothing_holds_nobody_up() -> None:
    with HealthServer("127.0.0.1", 0, lambda: WELL) as server:
        silent = [socket.create_connection(server.address) for _ in range(8)]
        assert ask(server, "/live")[0] == 200
        for one in silent:
            one.close()


def test_an_address_in_use_is_refused_by_name() -> None:
    with HealthServer("127.0.0.1", 0, lambda: WELL) as server:
        host, port = server.address
        with pytest.raises(
            ConfigError, match=f"health: cannot listen on 127.0.0.1:{port}: Address already in use"
        ):
            HealthServer(host, port, lambda: WELL).__enter__()


def test_after_leaving_the_port_is_free_again() -> None:
    with HealthServer("127.0.0.1", 0, lambda: WELL) as server:
        host, port = server.address
    with HealthServer(host, port, lambda: WELL) as again:
        assert ask(again, "/live")[0] == 200


def _body(facts: Facts) -> dict[str, Any]:
    return {
        "ok": True,
        "faults": [],
        "state": facts.state,
        "database": facts.database,
        "loop_idle": 0.0,
        "running": facts.running,
        "worker": facts.worker,
    }
