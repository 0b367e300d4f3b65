"""A network between us and the server that a test can cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote


class Wire:
    """Carries bytes to the server that `connection` is connected to, through a port of its own.

    ``cut = True`` swallows everything without a word, as a firewall does that forgot us; False mends it.
    `opened` counts the connections made through it. Use it inside ``async with wire.laid()``.
    """

    def __init__(self, connection: Any) -> None:
        self.address = connection._addr
        self.user, self.database = connection._params.user, connection._params.database
        self.password = connection._params.password or ""
        self.cut = False
        self.opened = 0
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def dsn(self) -> str:
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{self.database}?sslmode=disable"

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Wire"]:
        async with asyncio.TaskGroup() as group:
            self._group = group
            server = await asyncio.start_server(self._open, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            yield self
            server.close()
            for writer in self._writers:
                writer.close()

    async def _open(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        if isinstance(self.address, str):
            there = await asyncio.open_unix_connection(self.address)
        else:
            there = await asyncio.open_connection(*self.address)
        self._writers += [writer, there[1]]
        self._group.create_task(self._carry(reader, there[1]))
        self._group.create_task(self._carry(there[0], writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if not self.cut:
                    writer.write(data)
        writer.close()
