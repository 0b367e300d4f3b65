"""Attacks on the workers: killed, frozen, stopped, starved, kept from their loop, and by their own jobs."""

from __future__ import annotations

import asyncio
import signal
from random import Random
from typing import ClassVar

from tests.chaos.attack import Attack
from tests.chaos.load import Load
from tests.chaos.site import Site
from tests.chaos.worker import Worker
from tests.support.eventually import eventually

__all__ = ["ON_WORKERS"]

SHORT = {"heartbeat": "1s", "lease": "5s"}


class Killed(Attack):
    """SIGKILL of one worker in the middle of its work, and another in its place."""

    name = "worker: SIGKILL"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        victim = random.choice(site.workers)
        await occupied(site, load, victim.pid)
        with site.blow(self.name, victim):
            victim.kill()
            await victim.ended()
        site.dismiss(victim)
        await rescued(site, victim.id)
        await site.start()


class AllKilled(Attack):
    """SIGKILL of every worker at once; the next ones find what they left."""

    name = "worker: SIGKILL of all"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        victims = [*site.workers]
        with site.blow(self.name) as blow:
            for victim in victims:
                victim.kill()
            for victim in victims:
                await victim.ended()
                site.dismiss(victim)
            await site.start(len(victims))
        assert blow.over


class Frozen(Attack):
    """SIGSTOP for longer than the lease, then SIGCONT: what it says then is too late."""

    name = "worker: SIGSTOP, SIGCONT"
    settings: ClassVar = SHORT

    async def run(self, site: Site, load: Load, random: Random) -> None:
        victim = random.choice(site.workers)
        await occupied(site, load, victim.pid)
        with site.blow(self.name, victim):
            victim.signal(signal.SIGSTOP)
            try:
                await rescued(site, victim.id)
                await site.completes(20)
            finally:
                victim.signal(signal.SIGCONT)
        given_up = "others gave this worker up for dead: what it ran is no longer its own"
        await eventually(lambda: victim.told(given_up), what=f"{victim.name} knows")


class Stopped(Attack):
    """SIGTERM to all but one, one after the other and while they stop, others in their place."""

    name = "worker: SIGTERM storm"
    settings: ClassVar = {"grace": "500ms"}
    unsaved: ClassVar = False
    """Whether one may stop without having stored every outcome, as the server is away for so long."""

    async def run(self, site: Site, load: Load, random: Random) -> None:
        for victim in site.workers[:-1]:
            await load.add("slow", 3.0)
            with site.blow(self.name):
                victim.signal(signal.SIGTERM)
                site.dismiss(victim)
                await site.start()
                code = await victim.ended()
            excused = self.unsaved and victim.told("worker stopped without having stored every outcome")
            assert code == 0 or excused, f"{victim.name} stopped with {code}"


class StoppedMeanwhile(Stopped):
    """As part of more: the server, or a row, may be away for longer than a worker waits at its end."""

    unsaved = True


class Blocked(Attack):
    """A task blocks its event loop for three leases."""

    name = "worker: event loop blocked"
    settings: ClassVar = {"heartbeat": "500ms", "lease": "2s"}

    async def run(self, site: Site, load: Load, random: Random) -> None:
        with site.blow(self.name):
            asked = await load.add("blocker", 6.0)
            await ended(site, asked.run)
        (row,) = await site.patiently("SELECT count(*) FROM openqueue.attempts WHERE run_id = $1", asked.run)
        assert row["count"] == 1, f"a job that blocks its loop was tried {row['count']} times"


class Poisoned(Attack):
    """A job that kills its process, and one that ends it: each takes three workers, and then no more."""

    name = "worker: jobs that kill it"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        poison = [await load.add(kind, ends="failed") for kind in ("killer", "leaver")]
        with site.blow(self.name):
            while not all([await is_ended(site, one.run) for one in poison]):
                for worker in [*site.workers]:
                    if not worker.alive:
                        await replaced(site, worker)
                await asyncio.sleep(0.1)
        for worker in [*site.workers]:
            if not worker.alive:
                await replaced(site, worker)


class Starved(Attack):
    """A job takes memory until there is none (RLIMIT_AS)."""

    name = "worker: memory exhausted"

    async def run(self, site: Site, load: Load, random: Random) -> None:
        with site.blow(self.name):
            asked = await load.add("glutton", ends="failed")
            await ended(site, asked.run)
        for worker in [*site.workers]:
            if not worker.alive:
                await replaced(site, worker)


class Deaf(Attack):
    """Threads that never end, in a worker that is then told to stop."""

    name = "worker: threads that never end"
    settings: ClassVar = {"grace": "1s", "threads": 4}

    async def run(self, site: Site, load: Load, random: Random) -> None:
        with site.blow(self.name):
            deaf = [await load.add("deaf", ends="failed") for _ in range(4)]
            for one in deaf:
                await ended(site, one.run)
            for victim in [*site.workers]:
                victim.signal(signal.SIGTERM)
                site.dismiss(victim)
                await site.start()
                code = await victim.ended()
                assert code == 0, f"{victim.name} stopped with {code}"


async def replaced(site: Site, worker: Worker) -> None:
    """Its own job has ended it: start another."""
    worker.doomed = True
    site.dismiss(worker)
    await site.start()


async def occupied(site: Site, load: Load, pid: int) -> None:
    """Return once that process has begun something that takes a while."""
    sql = """SELECT EXISTS (SELECT FROM effects e JOIN openqueue.jobs j ON j.id = e.run
             WHERE e.pid = $1 AND j.task = 'chaos.slow' AND e.claim = j.claim AND e.worker = j.worker)"""

    async def look() -> bool:
        (row,) = await site.patiently(sql, pid)
        if not row["exists"]:
            await load.add("slow", 3.0)
        return bool(row["exists"])

    await eventually(look, every=0.05, what=f"process {pid} is occupied")


async def rescued(site: Site, worker: object) -> None:
    """Return once that worker holds nothing any more."""
    sql = "SELECT count(*) FROM openqueue.jobs WHERE worker = $1"

    async def look() -> bool:
        (row,) = await site.patiently(sql, worker)
        return bool(row["count"] == 0)

    await eventually(look, every=0.05, what="the victim's jobs are rescued")


async def is_ended(site: Site, run: object) -> bool:
    """Whether a run has ended."""
    (row,) = await site.patiently("SELECT count(*) FROM openqueue.attempts WHERE final AND run_id = $1", run)
    return bool(row["count"])


async def ended(site: Site, run: object) -> None:
    """Return once it has."""
    await eventually(lambda: is_ended(site, run), every=0.1, what=f"run {run} has ended")


ON_WORKERS: list[type[Attack]] = [Killed, AllKilled, Frozen, Stopped, Blocked, Poisoned, Starved, Deaf]
