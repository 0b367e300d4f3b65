"""What an attack is, what it may need, and the round in which it is carried out."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from tests.chaos.checker import Violation, check, gone
from tests.chaos.history import History
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.site import Blow, Site

__all__ = ["Attack", "Round", "play"]


class Attack(ABC):
    """`run` does the harm, once, while the load goes on; it ends when what was harmed is mended.

    name       in the table
    workers    how many there are
    settings   of the workers, of the server
    by_sql     whether people enqueue by SQL alone, as their openqueue and the schema's differ
    binaries   PostgreSQL's programs; None: those that are found first
    """

    name: ClassVar[str]
    workers: ClassVar[int] = 3
    settings: ClassVar[Mapping[str, Any]] = {}
    server: ClassVar[Mapping[str, str]] = {}
    by_sql: ClassVar[bool] = False
    binaries: Path | None = None

    def missing(self) -> str | None:
        """What this machine lacks for it; None: nothing."""
        return None

    async def prepare(self, site: Site) -> None:  # noqa: B027  most have nothing to prepare
        """Before the workers start."""

    @abstractmethod
    async def run(self, site: Site, load: Load, random: Random) -> None: ...


@dataclass(slots=True)
class Round:
    """What came of it. Seconds to recover: one for each blow that could be measured."""

    name: str
    seed: int
    journal: Journal = field(default_factory=Journal)
    history: History = field(default_factory=History)
    violations: list[Violation] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.violations and not self.faults

    @property
    def accepted(self) -> int:
        return len(self.journal.accepted())

    @property
    def lost(self) -> int:
        """Accepted, and without an end."""
        ended = {one.run for one in self.history.attempts if one.final}
        unended = sum(run.id not in ended for run in self.history.runs)
        return unended + len(gone(self.journal, self.history))

    @property
    def again(self) -> int:
        """Runs of which an attempt that had begun was lost or given back, and that began again."""
        back = ("lost", "released")
        return len({one.run for one in self.history.attempts if one.outcome in back and one.started_at})

    @property
    def twice(self) -> int:
        """Runs whose work was done to its end more than once, though no attempt failed after it and nobody
        asked for another."""
        asked = {one.run for one in self.journal.asked.values() if one.meddled}
        said = (one.run for one in self.history.effects if one.what == "end")
        ends = Counter(run for run in said if run not in asked)
        failed = Counter(one.run for one in self.history.attempts if one.outcome == "failed")
        return sum(count - failed[run] > 1 for run, count in ends.items())


async def play(
    attack: Attack, *, binaries: Path | None = None, seed: int = 0, times: int = 1, keep: bool = False
) -> Round:
    """A site of its own, the attack `times` times under load, and what the checker says of it."""
    random = Random(f"{attack.name} {seed}")
    attack.binaries = binaries
    made = Round(attack.name, seed)
    async with Site.up(
        binaries=binaries, seed=random.randrange(2**32), settings=attack.settings, server=attack.server
    ) as site:
        try:
            await attack.prepare(site)
            await site.start(attack.workers)
            load = site.load(by_sql=attack.by_sql)
            made.journal = load.journal
            async with load.running():
                await site.completes(20)
                for _ in range(times):
                    await attack.run(site, load, random)
                    await load.accepted(20)
                    await site.completes(20)
        except Exception as error:  # noqa: BLE001  one round that goes wrong is no reason to leave out the others
            site.faults.append(f"{type(error).__name__}: {error}")
        try:
            made.history = await site.settled()
            made.violations = check(made.journal, made.history)
        except Exception as error:  # noqa: BLE001  nor is one of which nobody knows how it ended
            site.faults.append(f"its history cannot be read: {type(error).__name__}: {error}")
        made.faults = site.faults
        made.seconds = [s for blow in site.blows if (s := recovery(blow, made.history)) is not None]
        if keep or not made.sound:
            _keep(site, made)
    return made


def recovery(blow: Blow, history: History) -> float | None:
    """Seconds from the blow until the victims' jobs were rescued; if it had none, from its end until a job
    that began afterwards had completed. None: there was nothing to be rescued."""
    if blow.victims:
        victims = {worker.id for worker in blow.victims}
        back = [
            one.finished_at.timestamp() - blow.began
            for one in history.attempts
            if one.worker in victims
            and one.finished_at
            and (one.outcome == "lost" or one.error == "WorkerLost")
        ]
        return max((seconds for seconds in back if seconds > 0), default=None)
    done = [
        one.finished_at.timestamp() - blow.over
        for one in history.attempts
        if one.outcome == "completed"
        and one.started_at
        and one.finished_at
        and one.started_at.timestamp() > blow.over
    ]
    return min(done, default=None)


def _keep(site: Site, made: Round) -> None:
    """The logs of a round that went wrong, where somebody can look at them."""
    place = Path(os.environ.get("CHAOS_LOGS", "build/chaos")) / f"{made.name.replace(' ', '-')}-{made.seed}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for log in site.directory.glob("*.log"):
        shutil.copy(log, place)
    said = [*made.faults, *map(str, made.violations)]
    (place / "said.txt").write_text("\n".join(said) + "\n")
