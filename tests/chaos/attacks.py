"""All attacks there are, several at once, and the few of the gate."""

from __future__ import annotations

import asyncio
from random import Random
from typing import ClassVar

from tests.chaos import on_server, on_workers
from tests.chaos.attack import Attack
from tests.chaos.load import Load
from tests.chaos.on_clocks import ON_CLOCKS
from tests.chaos.on_deploys import ON_DEPLOYS
from tests.chaos.on_machine import ON_MACHINE
from tests.chaos.on_network import ON_NETWORK
from tests.chaos.on_people import ON_PEOPLE
from tests.chaos.on_primary import ON_PRIMARY
from tests.chaos.on_schedules import ON_SCHEDULES
from tests.chaos.on_server import ON_SERVER
from tests.chaos.on_workers import ON_WORKERS
from tests.chaos.site import Site

__all__ = ["ATTACKS", "Mixed", "Short"]


class Mixed(Attack):
    """The workers and their server are attacked at the same time."""

    name = "both: workers and server at once"
    workers = 4
    settings: ClassVar = {"grace": "1s"}
    workers_side: ClassVar[list[type[Attack]]] = [
        on_workers.Killed,
        on_workers.AllKilled,
        on_workers.StoppedMeanwhile,
    ]
    server_side: ClassVar[list[type[Attack]]] = [
        on_server.Restarted,
        on_server.Killed,
        on_server.Terminated,
        on_server.ReadOnly,
    ]

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for _ in range(2):
            pair = random.choice(self.workers_side), random.choice(self.server_side)
            await asyncio.gather(*(one().run(site, load, random) for one in pair))


class Short(Attack):
    """Those that depend on nothing but signals and SQL, one after the other: about half a minute."""

    name = "short"
    of: ClassVar[list[type[Attack]]] = [on_workers.Killed, on_server.Killed, on_server.Terminated]

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for one in random.sample(self.of, len(self.of)):
            await one().run(site, load, random)


ATTACKS: list[type[Attack]] = [
    *ON_WORKERS,
    *ON_CLOCKS,
    *ON_SERVER,
    *ON_PRIMARY,
    *ON_NETWORK,
    *ON_DEPLOYS,
    *ON_SCHEDULES,
    *ON_MACHINE,
    *ON_PEOPLE,
    Mixed,
]
