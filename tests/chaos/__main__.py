"""Attacks, and a table of what came of them: python -m tests.chaos --help."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from random import Random

from openqueue.dev.account import server_account
from openqueue.dev.binaries import find_binaries
from openqueue.durations import parse_duration
from tests.chaos.attack import Attack, Round, play
from tests.chaos.attacks import ATTACKS
from tests.chaos.report import row, table

ROUND = 20.0
"""Seconds that are left when another round is worth beginning."""

MOST_AT_ONCE = 4
"""Sites side by side, unless told otherwise: each has a server and several workers."""


def main() -> int:
    """The exit code: 0 if no rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the same seed, the same attacks")
    parser.add_argument("--duration", default="10m", help="attacks are repeated as long as there is time")
    parser.add_argument("--only", default="", help="those whose name has this word")
    parser.add_argument("--postgres", type=Path, default=None, help="programs of another version")
    parser.add_argument("--keep", action="store_true", help="keep the workers' logs of good rounds, too")
    parser.add_argument(
        "--at-once", type=int, default=0, help="sites attacked side by side; one for each core"
    )
    given = parser.parse_args()
    seed = Random().randrange(10**6) if given.seed is None else given.seed
    seconds = parse_duration(given.duration, field="--duration").total_seconds()
    at_once = given.at_once or min(os.cpu_count() or 1, MOST_AT_ONCE)
    chosen = [one() for one in ATTACKS if given.only.lower() in one.name.lower()]
    if not chosen:
        parser.error(f"no attack is called {given.only!r}")
    for one in chosen:
        one.binaries = given.postgres
    missing = {one.name: why for one in chosen if (why := one.missing())}
    able = [one for one in chosen if one.name not in missing]
    began = time.monotonic()
    print(f"{len(able)} attacks, {at_once} at once, seed {seed}, {version(given.postgres)}", flush=True)
    rounds = asyncio.run(Rage(able, seed, given.postgres, keep=given.keep).goes_on(seconds, at_once))
    print(table(rounds, missing))
    broken = sum(not one.sound for one in rounds)
    minutes = (time.monotonic() - began) / 60
    print(f"{len(rounds)} rounds in {minutes:.1f} min, {broken} broken, {len(missing)} missing")
    return 1 if broken else 0


class Rage:
    """Each attack once, in an order that the seed decides; then again those that there is time for."""

    def __init__(
        self, attacks: list[Attack], seed: int, binaries: Path | None, *, keep: bool = False
    ) -> None:
        self.attacks = attacks
        self.rounds: list[Round] = []
        self._seed = seed
        self._binaries = binaries
        self._keep = keep
        self._random = Random(seed)
        self._begun = 0
        self._next: list[Attack] = []
        self._under_way: set[str] = set()
        self._ends = 0.0

    async def goes_on(self, seconds: float, at_once: int) -> list[Round]:
        """Attack so many sites at once for so many seconds, and each attack at least once."""
        self._ends = time.monotonic() + seconds
        await asyncio.gather(*(self._one_after_the_other() for _ in range(at_once)))
        return self.rounds

    async def _one_after_the_other(self) -> None:
        while attack := self._chosen():
            number, self._begun = self._begun, self._begun + 1
            self._under_way.add(attack.name)
            began = time.monotonic()
            made = await play(attack, binaries=self._binaries, seed=self._seed + number, keep=self._keep)
            self._under_way.remove(attack.name)
            self.rounds.append(made)
            verdict = "ok" if made.sound else "BROKEN"
            print(f"{verdict:7}{row(attack.name, [made])} in {time.monotonic() - began:.0f} s", flush=True)
            for one in [*made.faults, *map(str, made.violations)][:20]:
                print(f"       {one[:400]}", flush=True)

    def _chosen(self) -> Attack | None:
        """One that is not under way: what it has on this machine is its own. None: nothing is left."""
        if self._begun >= len(self.attacks) and time.monotonic() + ROUND > self._ends:
            return None
        if all(one.name in self._under_way for one in self._next):
            self._next += self._random.sample(self.attacks, len(self.attacks))
        free = next((one for one in self._next if one.name not in self._under_way), None)
        if free is not None:
            self._next.remove(free)
        return free


def version(binaries: Path | None) -> str:
    """What is attacked, as its programs call themselves."""
    account = server_account()
    postgres = find_binaries(account, binaries).directory / "postgres"
    return account.run([str(postgres), "--version"]).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
