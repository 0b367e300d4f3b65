"""A password is in nothing that is printed, logged, stored or shown by `ps`, whatever goes wrong."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest

from tests.support.command import Answer, Command
from tests.support.ports import free_port

PLAIN = "hunter2-Zebra"
HARD = "hü/nt@er2:%41?&#' \"\\Zebra"
TAIL = "Zebra"
"""What both end in: enough to find any of them in any way of writing."""

COMMANDS = ("runs list", "runs list --json", "migrate", "health", "enqueue post.send {}", "config --json")


class Door:
    """A server that says one thing to everybody who wants to log in, or nothing."""

    def __init__(self, answer: bytes | None, ssl: bytes = b"N") -> None:
        self.answer = answer
        self.ssl = ssl
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []

    @contextmanager
    def opened(self) -> Iterator[Door]:
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            for one in self._open:
                one.close()
            thread.join(60)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                with suppress(OSError):
                    self._greet(connection)

    def _greet(self, connection: socket.socket) -> None:
        if self.answer is None:
            return
        if connection.recv(65536)[4:8] == struct.pack("!I", 80877103):
            connection.sendall(self.ssl)
            connection.recv(65536)
        connection.sendall(self.answer)
        connection.close()


def refusal(state: str, text: str) -> bytes:
    body = b"".join(
        kind + value.encode() + b"\0" for kind, value in ((b"S", "FATAL"), (b"C", state), (b"M", text))
    )
    return b"E" + struct.pack("!I", len(body) + 5) + body + b"\0"


WRONG = refusal("28P01", 'password authentication failed for user "who"')


def clean(answer: Answer, *, code: int | None = None) -> Answer:
    """That nothing of the secret is in it."""
    assert TAIL not in answer.out + answer.err, answer
    assert "hunter2" not in answer.out + answer.err
    if code is not None:
        assert answer.code == code, answer
    return answer


def urls(password: str, place: str) -> list[str]:
    """The ways to write a password into a URL."""
    encoded = quote(password, safe="")
    return [
        f"postgresql://who:{encoded}@{place}/db",
        f"postgresql://who@{place}/db?password={encoded}",
        f"postgresql://who@{place}/db?sslpassword={encoded}&password={encoded}",
    ]


@pytest.mark.parametrize("line", COMMANDS)
def test_whoever_cannot_connect_says_where_and_not_with_what(
    bare: Command, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Door(WRONG).opened() as door:
        for password, port in ((PLAIN, free_port()), (HARD, door.port)):
            for url in urls(password, f"127.0.0.1:{port}"):
                monkeypatch.setenv("OPENQUEUE_DATABASE_URL", url)
                said = clean(bare(*line.split()))
                assert said.code in ((0,) if line.startswith("config") else (1, 4)), said


@pytest.mark.parametrize(
    "more",
    [
        "sslmode=require",
        "sslmode=verify-full&sslrootcert=/nowhere/root.crt",
        "sslmode=require&sslcert=/no.crt&sslkey=/no.key",
    ],
)
def test_nor_where_tls_fails(bare: Command, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    with Door(WRONG).opened() as door:
        for url in urls(HARD, f"127.0.0.1:{door.port}"):
            monkeypatch.setenv("OPENQUEUE_DATABASE_URL", f"{url}{'&' if '?' in url else '?'}{more}")
            said = clean(bare("runs", "list"))
            assert said.code in (3, 4), said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://who:{0}@nowhere.invalid/db",
        "postgres://who:{0}@127.0.0.1:99999/db",
        "postgresql://who:{0}@127.0.0.1:{0}/db",
        "postgresql://who:{0}@[::1/db",
        "postgresql://who:{0}/{0}@127.0.0.1/db",
        "postgresql://who:{0}@{0}@127.0.0.1/db",
        "postgresql://who:{0}#{0}@127.0.0.1/db",
        "postgresql://who@127.0.0.1/db?password={0}&connect_timeout={0}",
        "postgresql://who@127.0.0.1/db?password={0}&sslmode={0}",
        "postgresql://who@127.0.0.1/db?password={0}&{0}",
        "postgresql://who@127.0.0.1:1/db?password={0}&target_session_attrs={0}",
        "mysql://who:{0}@127.0.0.1/db",
        "postgresql+asyncpg://who:{0}@127.0.0.1/db",
        "host=127.0.0.1 password={0}",
        "{0}",
        "who:{0}@127.0.0.1",
    ],
)
@pytest.mark.parametrize("way", ["variable", "flag", "file"])
def test_a_url_that_cannot_be_read_is_not_repeated(
    bare: Command, monkeypatch: pytest.MonkeyPatch, url: str, way: str
) -> None:
    text = url.format(PLAIN)
    flag: tuple[str, ...] = ()
    if way == "variable":
        monkeypatch.setenv("OPENQUEUE_DATABASE_URL", text)
    elif way == "flag":
        flag = ("--database-url", text)
    else:
        (bare.project / "openqueue.toml").write_text(f"database_url = {json.dumps(text)}\n")
    said = clean(bare("runs", "list", *flag))
    assert said.code in (2, 3, 4), said
    clean(bare("config", "--json", *(flag if way == "flag" else ())))


def test_a_password_of_the_environment_is_in_no_message_either(
    bare: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PLAIN)
    with Door(WRONG).opened() as door:
        monkeypatch.setenv("OPENQUEUE_DATABASE_URL", f"postgresql://who@127.0.0.1:{door.port}/db")
        for line in COMMANDS:
            clean(bare(*line.split()))


def test_who_waits_too_long_says_for_whom_and_not_with_what(
    bare: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Door(None).opened() as door:
        url = f"{urls(HARD, f'127.0.0.1:{door.port}')[1]}&connect_timeout=2"
        monkeypatch.setenv("OPENQUEUE_DATABASE_URL", url)
        assert "No answer from" in clean(bare("runs", "list"), code=4).err


def test_with_its_traceback_too(bare: Command) -> None:
    """OPENQUEUE_DEBUG shows the traceback, with every cause."""
    with Door(WRONG).opened() as door:
        for url in urls(HARD, f"127.0.0.1:{door.port}"):
            bare.url = url
            said = clean(bare.run("runs", "list", OPENQUEUE_DEBUG="1"))
            assert "Traceback" in said.err
            break


TELLS = """
import os

from openqueue import Context, task
from openqueue.settings import load_settings


class Shop:
    def __init__(self, dsn):
        self.dsn = dsn


@task(max_attempts=1)
async def tell(ctx: Context) -> str:
    settings = load_settings()
    print(settings)
    ctx.log.info("settings", settings=repr(settings), database_url=os.environ["OPENQUEUE_DATABASE_URL"])
    ctx.log.info("connecting to " + os.environ["OPENQUEUE_DATABASE_URL"])
    raise RuntimeError(f"cannot go on with {settings} and {settings.model_dump()}")
"""


def test_a_task_that_tells_its_settings_tells_no_password(
    bare: Command, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = urlsplit(dsn)
    user = parts.netloc.rpartition("@")[0].partition(":")[0] or "postgres"
    place = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(netloc=f"{user}:{PLAIN}@{place}"))
    if parts.password:
        pytest.skip("MISSING: a server that asks for no password")
    bare.url = url
    (bare.project / "tasks").mkdir()
    (bare.project / "tasks" / "shop.py").write_text(TELLS)
    _enqueue(dsn, "shop.tell")
    clean(bare.run("worker", "--once", "--log-format", "json", "--log-level", "debug"))
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", url)
    for line in ("runs list --json", "config", "config --json", "workers --json", "tasks --json"):
        clean(bare(*line.split()), code=0)
    with psycopg.connect(dsn) as connection:
        for table in ("attempts", "run_log", "catalog", "workers", "run_requests"):
            rows = connection.execute(f"SELECT t::text FROM openqueue.{table} t".encode()).fetchall()
            assert TAIL not in str(rows), table
        assert connection.execute("SELECT count(*) FROM openqueue.attempts").fetchone() == (1,)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc")
def test_ps_and_the_server_show_no_password(bare: Command, dsn: str) -> None:
    """Of a worker with processes of its own, and with processes for tasks: arguments and application_name."""
    parts = urlsplit(dsn)
    if parts.password:
        pytest.skip("MISSING: a server that asks for no password")
    place = parts.netloc.rpartition("@")[2]
    bare.url = urlunsplit(parts._replace(netloc=f"postgres:{PLAIN}@{place}"))
    (bare.project / "tasks").mkdir()
    (bare.project / "tasks" / "shop.py").write_text(
        "from openqueue import task\n\n\n@task(executor='process')\ndef quick(): return 1\n"
    )
    _enqueue(dsn, "shop.quick")
    with bare.start("worker", "--processes", "2") as process, psycopg.connect(dsn, autocommit=True) as server:
        try:
            assert _until(server, "SELECT count(*) = 2 FROM openqueue.workers")
            assert _until(server, "SELECT count(*) = 1 FROM openqueue.attempts WHERE outcome = 'completed'")
            seen = _arguments_below(process.pid)
            assert len(seen) >= 3
            assert [one for one in seen if TAIL in one] == []
            names = server.execute(
                "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
            )
            assert TAIL not in str(names.fetchall())
        finally:
            process.terminate()
            _, err = process.communicate(timeout=240)
    assert TAIL not in err


def _enqueue(dsn: str, task: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT openqueue.add_job(%s)", (task,))


def _until(server: psycopg.Connection[Any], look: str) -> bool:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.execute(look.encode()).fetchone() == (True,):
            return True
        time.sleep(0.05)
    return False


def _arguments_below(pid: int) -> list[str]:
    """The command lines of a process and of all below it, as `ps` shows them."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family = {pid}
    while more := {one for one, parent in parents.items() if parent in family} - family:
        family |= more
    found = []
    for one in family:
        with suppress(OSError):
            found.append(Path(f"/proc/{one}/cmdline").read_bytes().decode(errors="replace"))
    return found
