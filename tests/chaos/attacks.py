"""All attacks there are, several at once, and the few of the gate."""

from __future__ import annotations

import asyncio
from random import Random
from typing import ClassVar

from tests.chaos import on_server, on_workers
from tests.chaos.attack import Attack
from tests.chaos.load import Load
from tests.chaos.on_network import ON_NETWORK
from tests.chaos.on_server import ON_SERVER
from tests.chaos.on_workers import ON_WORKERS
from tests.chaos.site import Site

__all__ = ["ATTACKS", "Mixed", "Short"]


class Mixed(Attack):
    """Several of them, two at a time, on one site."""

    name = "mixed, two at a time"
    workers = 4
    settings: ClassVar = {"grace": "1s"}
    of: ClassVar[list[type[Attack]]] = [
        on_workers.Killed,
        on_workers.AllKilled,
        on_workers.Stopped,
        on_server.Restarted,
        on_server.Killed,
        on_server.Terminated,
        on_server.ReadOnly,
    ]

    async def run(self, site: Site, load: Load, random: Random) -> None:
        chosen = random.sample(self.of, 4)
        for pair in (chosen[:2], chosen[2:]):
            await asyncio.gather(*(one().run(site, load, random) for one in pair))


class Short(Attack):
    """Those that depend on nothing but signals and SQL, one after the other: about half a minute."""

    name = "short"
    of: ClassVar[list[type[Attack]]] = [on_workers.Killed, on_server.Killed, on_server.Terminated]

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for one in random.sample(self.of, len(self.of)):
            await one().run(site, load, random)


ATTACKS: list[type[Attack]] = [*ON_WORKERS, *ON_SERVER, *ON_NETWORK, Mixed]
