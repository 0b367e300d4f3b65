"""A process that forks while another of its threads imports: the child waits for nobody who is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.transcript import environment

HEAD = """
import os, signal, sys, threading, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)
import openqueue

@openqueue.task(name="double")
def double(value: int) -> int:
    return value * 2

def fork(body):
    pid = os.fork()
    if not pid:
        signal.alarm(60)  # it would wait for ever
        body()
        os._exit(0)
    return os.waitpid(pid, 0)[1]
"""

FIRST_CALL = """
threading.Thread(target=threading.Event().wait, daemon=True).start()
assert fork(lambda: None) == 0
before = set(sys.modules)
double.enqueue_sync(1).status_sync()
with openqueue.connect_sync(os.environ["OPENQUEUE_DATABASE_URL"]) as client:
    client.schedules.list()
print(sorted(set(sys.modules) - before))
"""

HALF_IMPORTED = """
importing, forking = threading.Event(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1] and threading.current_thread() is not threading.main_thread():
            importing.set()
            forking.wait(60)

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=lambda: double.enqueue_sync(1))
thread.start()
assert importing.wait(60)
os.register_at_fork(before=forking.set)  # called before those that were registered before it
print(fork(lambda: print(double.enqueue_sync(2).status_sync(), flush=True)))
thread.join()
"""


def program(dsn: str, text: str, *arguments: str) -> list[str]:
    """What a program prints, which must end well."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + text, *arguments],
        env=environment(OPENQUEUE_DATABASE_URL=dsn),
        cwd=Path.cwd(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.splitlines()


def test_after_a_fork_beside_threads_nothing_is_imported_by_a_first_call(dsn: str) -> None:
    assert program(dsn, FIRST_CALL) == ["[]"]


@pytest.mark.parametrize("module", ["asyncpg.protocol", "pydantic.fields", "email.parser"])
def test_a_fork_while_another_thread_imports_waits_until_it_has(dsn: str, module: str) -> None:
    assert program(dsn, HALF_IMPORTED, module) == ["queued", "0"]
