"""A network of the test's own: carries bytes to a Unix socket, late, in one direction, or not at all."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

__all__ = ["Net"]


@dataclass(eq=False, slots=True)
class Line:
    """One connection, both of its sides. Once it is dead nothing passes, and neither side is told."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    dead: bool = False


@dataclass(slots=True)
class Net:
    """A port of 127.0.0.1 that leads to the server of `dsn`. Change its fields while it is up.

    delay     seconds by which everything is late
    stalls    the share of pieces that come as late as a packet that is sent again: 0.2 s, 0.6 s, 1.4 s …
    cut       what is connected is dead from now on, and so is what connects
    lossy     the share of answers that never arrive: the connection is reset instead, and the server has
              done what it was asked
    """

    behind: str
    delay: float = 0.0
    stalls: float = 0.0
    cut: bool = False
    lossy: float = 0.0
    port: int = 0
    lost: int = 0
    random: random.Random = field(default_factory=random.Random)
    lines: set[Line] = field(default_factory=set)

    @property
    def dsn(self) -> str:
        """The same database, by this way."""
        parts = urlsplit(self.behind)
        return f"postgresql://postgres@127.0.0.1:{self.port}{parts.path}?sslmode=disable"

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Net]:
        """Carry, for as long as the block takes."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.reset()

    def reset(self) -> None:
        """Both sides of everything that is connected are told at once that it is over."""
        for line in [*self.lines]:
            _reset(line)

    def swallow(self) -> None:
        """What is connected now is dead, and nobody is told; what connects later lives."""
        for line in self.lines:
            line.dead = True

    async def _carry(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        query = parse_qs(urlsplit(self.behind).query)
        path = Path(query["host"][0]) / f".s.PGSQL.{query['port'][0]}"
        try:
            answers, far = await asyncio.open_unix_connection(str(path))
        except OSError:
            near.close()
            return
        line = Line(near, far)
        self.lines.add(line)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(self._asks(line, reader), self._answers(line, answers))
        self.lines.discard(line)
        for side in (near, far):
            side.close()

    async def _asks(self, line: Line, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if await self._passes(line):
                    line.far.write(data)
        if not line.dead:
            line.far.close()

    async def _answers(self, line: Line, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.random.random() < self.lossy:
                    self.lost += 1
                    _reset(line)
                elif await self._passes(line):
                    line.near.write(data)
        if not line.dead:
            line.near.close()

    async def _passes(self, line: Line) -> bool:
        if self.delay:
            await asyncio.sleep(self.delay)
        again = 0.2
        while self.random.random() < self.stalls:
            await asyncio.sleep(again)
            again *= 2
        line.dead = line.dead or self.cut
        return not line.dead


def _reset(line: Line) -> None:
    for side in (line.near, line.far):
        found = side.get_extra_info("socket")
        if found is not None and found.family != socket.AF_UNIX:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        side.transport.abort()
