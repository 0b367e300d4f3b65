"""A network of its own with a link that loses packets: two ends, and this process carries between them."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import random
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Link", "works"]

DEVICE = Path("/dev/net/tun")
TUNSETIFF, TUN_WITHOUT_HEADER = 0x400454CA, 0x1001
_numbers = itertools.count()


@dataclass(slots=True)
class Link:
    """`here` and `there` are addresses; a process run `within` reaches the one from the other.

    loss      the share of packets that never arrive, in each direction
    twice     the share that arrives twice
    late      the share that is overtaken by those sent up to 50 ms later
    dropped   how many were lost until now
    """

    here: str
    there: str
    space: str
    loss: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    dropped: int = 0
    random: random.Random = field(default_factory=random.Random)

    @property
    def within(self) -> tuple[str, ...]:
        """The command that runs a process at the other end."""
        return ("ip", "netns", "exec", self.space)

    @classmethod
    @contextmanager
    def up(cls) -> Iterator[Link]:
        """Make both ends; they go with the block. Call it in the event loop that is to carry."""
        number = next(_numbers)
        space, near, far = (f"oq{end}{os.getpid()}-{number}" for end in "xnf")
        network = f"10.{130 + os.getpid() // 200 % 60}.{os.getpid() % 200 + number % 50}"
        link = cls(f"{network}.1", f"{network}.2", space)
        _run("ip", "netns", "add", space)
        ends = [_opened(near), _opened(far)]
        loop = asyncio.get_running_loop()
        try:
            _run("ip", "addr", "add", f"{link.here}/30", "dev", near)
            _run("ip", "link", "set", near, "up")
            _run("ip", "link", "set", far, "netns", space)
            _run("ip", "-n", space, "addr", "add", f"{link.there}/30", "dev", far)
            _run("ip", "-n", space, "link", "set", far, "up")
            for one, other in (ends, ends[::-1]):
                loop.add_reader(one, link._carry, one, other)
            yield link
        finally:
            for one in ends:
                loop.remove_reader(one)
                os.close(one)
            _run("ip", "netns", "del", space)

    def _carry(self, one: int, other: int) -> None:
        with suppress(BlockingIOError):
            while packet := os.read(one, 65536):
                if self.random.random() < self.loss:
                    self.dropped += 1
                    continue
                copies = 1 + (self.random.random() < self.twice)
                for _ in range(copies):
                    if self.random.random() < self.late:
                        pause = self.random.uniform(0.0, 0.05)
                        asyncio.get_running_loop().call_later(pause, _written, other, packet)
                    else:
                        _written(other, packet)


def works() -> bool:
    """Whether this machine lets us make such ends."""
    if os.geteuid() != 0 or not DEVICE.exists():
        return False
    space = f"oqw{os.getpid()}"
    try:
        _run("ip", "netns", "add", space)
        try:
            os.close(_opened(space))
        finally:
            _run("ip", "netns", "del", space)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _opened(name: str) -> int:
    end = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), TUN_WITHOUT_HEADER))
    except OSError:
        os.close(end)
        raise
    return end


def _written(end: int, packet: bytes) -> None:
    with suppress(OSError):  # it is closed, or full: one more that is lost
        os.write(end, packet)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
