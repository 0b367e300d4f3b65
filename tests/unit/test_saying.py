"""A process of tasks speaks in whole frames, whatever comes between, and for nobody but its attempt."""

from __future__ import annotations

import socket
import threading
from typing import Any, cast

from openqueue.worker.processes.frames import Kind, packed
from openqueue.worker.processes.saying import Saying, Voice


class Interrupted:
    """A connection in whose first sending its own thread speaks again, as a signal handler does."""

    def __init__(self) -> None:
        self.sent = b""
        self.saying = Saying(cast("socket.socket", self))

    def sendall(self, data: bytes) -> None:
        half = len(data) // 2
        self.sent += data[:half]
        if half and not self.sent[half:]:
            self.saying.send(Kind.LOG, '"between"')
        self.sent += data[half:]


def test_who_speaks_while_its_thread_is_sending_is_heard_afterwards() -> None:
    connection = Interrupted()
    connection.saying.send(Kind.LOG, '"first"')
    connection.saying.send(Kind.RESULT, '"last"')
    frames = (Kind.LOG, '"first"'), (Kind.LOG, '"between"'), (Kind.RESULT, '"last"')
    assert connection.sent == b"".join(packed(*frame) for frame in frames)


def test_what_many_threads_say_arrives_whole() -> None:
    here, there = socket.socketpair()
    saying = Saying(here)

    def speak(number: int) -> None:
        for _ in range(200):
            saying.send(Kind.LOG, f'"{number}"' * 50)

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    expected = {packed(Kind.LOG, f'"{number}"' * 50) for number in range(4)}
    size = len(next(iter(expected)))
    read: Any = there.makefile("rb")
    assert {read.read(size) for _ in range(800)} == expected
    for thread in threads:
        thread.join()
    read.close()
    here.close()
    there.close()


def test_an_attempt_that_is_over_says_nothing_more() -> None:
    here, there = socket.socketpair()
    with here, there:
        voice = Voice(Saying(here))
        voice.progress({"n": 1})
        voice.end()
        voice.log("info", "late", {})
        voice.progress({"n": 2})
        assert there.recv(1000) == packed(Kind.PROGRESS, '{"n":1}')
