"""A schedule fires every second, whoever leads: killed, frozen, wrong about time, and without its server."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from random import Random
from typing import ClassVar

from tests.chaos.attack import Attack
from tests.chaos.load import Load
from tests.chaos.site import Site
from tests.chaos.worker import ROOT, Worker
from tests.support.eventually import eventually

__all__ = ["ON_SCHEDULES"]

HOLDER = "SELECT holder FROM openqueue.leader WHERE expires_at > clock_timestamp()"
FIRED = "SELECT count(*) FROM openqueue.schedule_ticks WHERE run_id IS NOT NULL"


class LeaderKilled(Attack):
    """SIGKILL of whoever leads, just before a second is full."""

    name = "schedule: leader killed at the tick"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for _ in range(2):
            leader = await leading(site)
            await next_tick(random)
            with site.blow(self.name):
                leader.kill()
                await leader.ended()
                site.dismiss(leader)
            await fires(site)
            await site.start()


class LeaderFrozen(Attack):
    """SIGSTOP of whoever leads, until another one does; then it goes on with what it was about to do."""

    name = "schedule: leader frozen"
    settings: ClassVar = {"heartbeat": "1s", "lease": "5s"}

    async def run(self, site: Site, load: Load, random: Random) -> None:
        leader = await leading(site)
        await next_tick(random)
        with site.blow(self.name):
            leader.signal(signal.SIGSTOP)
            try:
                await eventually(lambda: _other(site, leader), every=0.1, what="another one leads")
                await fires(site)
            finally:
                leader.signal(signal.SIGCONT)
        await eventually(lambda: leader.told("leads its namespace no longer"), what="it knows")


class TickRestart(Attack):
    """The server is restarted at the very tick."""

    name = "schedule: server restarted at the tick"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for _ in range(3):
            await next_tick(random)
            with site.blow(self.name):
                await asyncio.to_thread(site.server.restart, "immediate")
            await fires(site)


class WrongClocks(Attack):
    """Only workers whose clocks are an hour ahead, an hour behind, half as fast again; leaders are killed."""

    name = "schedule: clocks wrong"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        right = [*site.workers]
        for shift, speed, pace in ((3600, 1, 1), (-3600, 1, 0.999), (1800, 1.5, 1.001)):
            path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support" / "skewed")])
            skew = (f"SKEW={shift}", f"SKEW_SPEED={speed}", f"SKEW_MONOTONIC={pace}")
            await site.start(within=("env", f"PYTHONPATH={path}", *skew))
        for worker in right:
            site.dismiss(worker)
            code = await worker.stop()
            assert code == 0, f"{worker.name} stopped with {code}"
        for _ in range(2):
            leader = await leading(site)
            await next_tick(random)
            with site.blow(self.name):
                leader.kill()
                await leader.ended()
                site.dismiss(leader)
            await fires(site)
        rows = await site.patiently(
            "SELECT at, fired_at FROM openqueue.schedule_ticks WHERE run_id IS NOT NULL"
        )
        early = [row["at"] for row in rows if row["fired_at"] < row["at"]]
        assert not early, f"fired before their time: {early}"


async def leading(site: Site) -> Worker:
    """The worker that leads."""

    async def look() -> Worker | None:
        held = {row["holder"] for row in await site.patiently(HOLDER)}
        return next((worker for worker in site.workers if worker.id in held), None)

    found: Worker = await eventually(look, every=0.1, what="a leader")
    return found


async def _other(site: Site, leader: Worker) -> bool:
    rows = await site.patiently(HOLDER)
    return bool(rows) and rows[0]["holder"] != leader.id


async def next_tick(random: Random) -> None:
    """Return about 20 ms before or after a second is full: the tick is on its way, or just sent."""
    await asyncio.sleep(1 - time.time() % 1 + random.uniform(-0.02, 0.02))


async def fires(site: Site) -> None:
    """Return once three more ticks have been fired."""
    (row,) = await site.patiently(FIRED)
    wanted = row["count"] + 3

    async def look() -> bool:
        (row,) = await site.patiently(FIRED)
        return bool(row["count"] >= wanted)

    await eventually(look, every=0.1, what="three more ticks")


ON_SCHEDULES: list[type[Attack]] = [LeaderKilled, LeaderFrozen, TickRestart, WrongClocks]
