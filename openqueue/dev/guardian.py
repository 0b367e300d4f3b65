"""The process beside an embedded server: starts it, waits for its last user to go, stops it.

Run as a script, without openqueue on the path; a JSON object on standard input says what to start. It
detaches, takes `server.lock`, starts the server and says `ready` or what went wrong on standard output.
Every user holds a shared lock on `users.lock` and `alive.lock`, which the kernel frees however the user
ends. Once `alive.lock` can be had, and under `turn.lock` (held by whoever comes or goes) `users.lock`
too, nobody is left and the server is stopped. SIGTERM stops it at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

# Fast shutdown, then immediate, then by force; seconds to wait after each.
STOPPING = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
START_TIMEOUT = 60.0  # seconds; recovery after a crash is part of a start


def main() -> int:
    """Detach, start the server and stay until it has ended."""
    order = json.load(sys.stdin)
    if os.fork():
        return 0
    home = Path(order["home"])
    guard = _open(home / "server.lock")
    fcntl.flock(guard, fcntl.LOCK_EX)
    _write(guard, {"pid": os.getpid(), "data": order["data"]})
    server = _start(order, home / "server.log")
    gone = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: _in_background(_stop, server, gone))
    problem = _wait_until_ready(server, Path(order["data"]))
    if problem:
        _in_background(_stop, server, gone)
    else:
        _in_background(_stop_when_unused, server, gone, home)
    _report(problem or "ready")
    server.wait()
    gone.set()
    _remove(Path(order["sockets"]))
    return 0


def _start(order: dict[str, Any], log: Path) -> subprocess.Popen[bytes]:
    """Start the server as the account it was made for, away from our session and our streams."""
    dropped = {"user": order["uid"], "group": order["gid"], "extra_groups": []} if order["foreign"] else {}
    with log.open("wb") as output:
        return subprocess.Popen(
            order["command"],
            cwd=order["data"],
            env=order["environment"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **dropped,
        )


def _wait_until_ready(server: subprocess.Popen[bytes], data: Path) -> str | None:
    """Wait until the server takes connections; else say what is wrong."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            return f"it ended with code {server.returncode}"
        if is_ready(data):
            return None
        time.sleep(0.005)
    return f"it was not ready after {START_TIMEOUT:g} s"


def is_ready(data: Path) -> bool:
    """Tell whether the server of `data` says it takes connections (the eighth line of its pid file)."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def _stop_when_unused(server: subprocess.Popen[bytes], gone: threading.Event, home: Path) -> None:
    """Wait for the last user to go, keep new ones out, and stop."""
    alive, turn, users = (_open(home / f"{name}.lock") for name in ("alive", "turn", "users"))
    while True:
        fcntl.flock(alive, fcntl.LOCK_EX)
        fcntl.flock(alive, fcntl.LOCK_UN)
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # someone came meanwhile
            fcntl.flock(turn, fcntl.LOCK_UN)
        else:
            _stop(server, gone)
            return


def _stop(server: subprocess.Popen[bytes], gone: threading.Event) -> None:
    for number, patience in STOPPING:
        server.send_signal(number)
        if gone.wait(patience):
            return


def _in_background(function: Any, *args: Any) -> None:
    threading.Thread(target=function, args=args, daemon=True).start()


def _report(message: str) -> None:
    """Answer whoever started us, then let go of the pipe; they may have died meanwhile."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    with suppress(BrokenPipeError):
        os.write(1, message.encode())
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)


def _remove(sockets: Path) -> None:
    with suppress(OSError):  # not empty, or gone: the next start looks at it anyway
        sockets.rmdir()


def _open(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


def _write(fd: int, value: dict[str, Any]) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(value).encode(), 0)


if __name__ == "__main__":
    sys.exit(main())
