"""Attacks on the network, by a proxy: late, reset, silent, answers lost; and PgBouncer in between."""

from __future__ import annotations

import asyncio
from random import Random
from typing import ClassVar

from tests.chaos.attack import Attack
from tests.chaos.load import Load
from tests.chaos.net import Net
from tests.chaos.on_workers import occupied, rescued
from tests.chaos.site import Site
from tests.support.bouncer import MISSING, PROGRAM, Bouncer
from tests.support.eventually import eventually

__all__ = ["ON_NETWORK"]


class OnNetwork(Attack):
    """Everybody reaches the server through one proxy, `net`."""

    net: Net

    async def prepare(self, site: Site) -> None:
        self.net = await site.stack.enter_async_context(Net(site.dsn).up())
        site.way = self.net.dsn


class Late(OnNetwork):
    """Everything takes 200 ms longer in each direction."""

    name = "network: 200 ms late"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        with site.blow(self.name):
            self.net.delay = 0.2
            await site.completes(20)
            self.net.delay = 0.0


class Stalled(OnNetwork):
    """One piece in ten comes as late as one whose packets were lost, once or more, and sent again."""

    name = "network: stalls"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        self.net.random = Random(random.random())
        with site.blow(self.name):
            self.net.stalls = 0.1
            await site.completes(40)
            self.net.stalls = 0.0
        await site.completes(20)


class Reset(OnNetwork):
    """Every connection is reset, again and again."""

    name = "network: reset"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for _ in range(5):
            with site.blow(self.name):
                self.net.reset()
            await site.completes(random.choice((1, 10)))


class Silent(OnNetwork):
    """All that is connected is forgotten without a word (half-open); what connects anew is carried."""

    name = "network: half-open"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        with site.blow(self.name):
            self.net.swallow()
        await site.completes(20)


class Gone(OnNetwork):
    """Nothing passes for 20 s, without a word; then what connects anew is carried."""

    name = "network: gone for 20 s"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        with site.blow(self.name):
            self.net.cut = True
            await asyncio.sleep(20)
            self.net.cut = False
        await site.completes(20)


class Unanswered(OnNetwork):
    """One answer in twenty is lost after the server has done what was asked, for a while."""

    name = "network: answers lost after commit"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        self.net.random = Random(random.random())
        before = self.net.lost
        with site.blow(self.name):
            self.net.lossy = 0.05
            await eventually(lambda: self.net.lost >= before + 40, every=0.1, what="40 answers are lost")
            self.net.lossy = 0.0
        await site.completes(20)


class Alone(Attack):
    """One worker is cut off alone, without a word, until others have its jobs; then it returns."""

    name = "network: one worker cut off"
    workers = 2
    settings: ClassVar = {"heartbeat": "1s", "lease": "5s"}

    async def prepare(self, site: Site) -> None:
        self.net = await site.stack.enter_async_context(Net(site.dsn).up())
        self.victims = await site.start(1, dsn=self.net.dsn)

    async def run(self, site: Site, load: Load, random: Random) -> None:
        (victim,) = self.victims
        await occupied(site, load, victim.pid)
        with site.blow(self.name, victim):
            self.net.cut = True
            await rescued(site, victim.id)
            self.net.cut = False
        sql = "SELECT count(*) FROM openqueue.workers WHERE id = $1"

        async def back() -> bool:
            (row,) = await site.patiently(sql, victim.id)
            return bool(row["count"])

        await eventually(back, every=0.1, what=f"{victim.name} is back")
        await occupied(site, load, victim.pid)


class Pooled(Attack):
    """PgBouncer in transaction mode before everybody, killed and started again, with one server behind."""

    name = "PgBouncer: restarted"
    alone: ClassVar = False
    more: ClassVar = ""

    def missing(self) -> str | None:
        return MISSING if PROGRAM is None else None

    async def prepare(self, site: Site) -> None:
        self.bouncer = site.stack.enter_context(Bouncer.before(site.dsn, sessions=8, more=self.more))
        site.way = self.bouncer.dsn
        site.settings["pooler"] = "transaction"
        if not self.alone:
            site.settings["listen_dsn"] = site.dsn

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for _ in range(3):
            with site.blow(self.name):
                await asyncio.to_thread(self.bouncer.restart)
            await site.completes(random.choice((1, 20)))


class PooledAlone(Pooled):
    """The same where PgBouncer is the only way: no session to listen on, none for the liveness lock."""

    name = "PgBouncer: restarted, the only way"
    alone = True


class PooledRestart(Pooled):
    """The server behind PgBouncer is restarted."""

    name = "PgBouncer: server restarted"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for mode in ("fast", "immediate"):
            with site.blow(self.name):
                await asyncio.to_thread(site.server.restart, mode)
            await site.completes(20)


ON_NETWORK: list[type[Attack]] = [
    Late,
    Stalled,
    Reset,
    Silent,
    Gone,
    Unanswered,
    Alone,
    Pooled,
    PooledAlone,
    PooledRestart,
]
