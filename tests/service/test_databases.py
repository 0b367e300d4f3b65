"""The databases of a session of tests go, whoever is in them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import closing, suppress

import psycopg
import pytest

from openqueue.testing.databases import Databases
from tests.support.own_server import OwnServer

THERE = "SELECT count(*) FROM pg_database WHERE datname LIKE 'openqueue_test_slow_%'"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_database_is_dropped_though_a_session_in_it_takes_long_to_end(own_server: OwnServer) -> None:
    """PostgreSQL ends the session, waits for it for five seconds, and gives up."""
    databases = Databases(own_server.dsn(), "slow")
    url = databases.create(migrated=False)
    with closing(psycopg.connect(url)) as session:
        pid = session.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        thaw = threading.Timer(7, os.kill, (pid, signal.SIGCONT))
        thaw.start()
        try:
            databases.drop(url)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            thaw.cancel()
            thaw.join()
    databases.close()
    with psycopg.connect(own_server.dsn()) as connection:
        assert connection.execute(THERE).fetchone() == (0,)
