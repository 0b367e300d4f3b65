"""The primary is lost and a replica promoted in its place."""

from __future__ import annotations

import asyncio
from random import Random
from typing import ClassVar

import asyncpg

from tests.chaos.attack import Attack
from tests.chaos.load import Load
from tests.chaos.site import Site
from tests.chaos.standby import both, following, has_basebackup, in_step
from tests.support.eventually import eventually

__all__ = ["ON_PRIMARY"]


class FailedOver(Attack):
    """kill -9 of the primary; the replica, which has every commit, is promoted (two hosts in the URL)."""

    name = "PostgreSQL: failover to a replica"
    server: ClassVar = {"max_wal_senders": "5"}

    def missing(self) -> str | None:
        return None if has_basebackup(self.binaries) else "pg_basebackup (the server's own programs)"

    async def prepare(self, site: Site) -> None:
        self.replica = await asyncio.to_thread(
            site.stack.enter_context, following(site.server, self.binaries)
        )
        site.way = site.effects = both(site.server, self.replica)
        await asyncio.to_thread(self.replica.start)
        await site.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await site.execute("SELECT pg_reload_conf()")
        await eventually(lambda: in_step(site.dsn), every=0.1, what="the replica is in step")

    async def run(self, site: Site, load: Load, random: Random) -> None:
        if site.server is self.replica:
            return  # there is no other one left
        with site.blow(self.name):
            await asyncio.to_thread(site.server.kill)
            connection = await asyncpg.connect(self.replica.dsn())
            await connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            assert await connection.fetchval("SELECT pg_promote(true, 120)")
            await connection.close()
            site.server, site.dsn = self.replica, self.replica.dsn()
        await site.completes(20)


ON_PRIMARY: list[type[Attack]] = [FailedOver]
