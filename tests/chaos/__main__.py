"""Attacks, and a table of what came of them: python -m tests.chaos --help."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from random import Random

from openqueue.durations import parse_duration
from tests.chaos.attack import Attack, Round, play
from tests.chaos.attacks import ATTACKS
from tests.chaos.report import row, table

ROUND = 20.0
"""Seconds that are left when another round is worth beginning."""


def main() -> int:
    """The exit code: 0 if no rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the same seed, the same attacks")
    parser.add_argument("--duration", default="10m", help="attacks are repeated as long as there is time")
    parser.add_argument("--only", default="", help="those whose name has this word")
    parser.add_argument("--postgres", type=Path, default=None, help="programs of another version")
    parser.add_argument("--keep", action="store_true", help="keep the workers' logs of good rounds, too")
    given = parser.parse_args()
    seed = Random().randrange(10**6) if given.seed is None else given.seed
    seconds = parse_duration(given.duration, field="--duration").total_seconds()
    chosen = [one() for one in ATTACKS if given.only.lower() in one.name.lower()]
    if not chosen:
        parser.error(f"no attack is called {given.only!r}")
    print(f"seed {seed}", flush=True)
    missing = {one.name: why for one in chosen if (why := one.missing())}
    able = [one for one in chosen if one.name not in missing]
    rounds = asyncio.run(rage(able, seed, seconds, given.postgres, keep=given.keep))
    print(table(rounds, missing))
    return 0 if all(one.sound for one in rounds) else 1


async def rage(
    attacks: list[Attack], seed: int, seconds: float, binaries: Path | None, *, keep: bool = False
) -> list[Round]:
    """Each attack once, in an order that the seed decides; then again those that there is time for."""
    random = Random(seed)
    ends = time.monotonic() + seconds
    rounds: list[Round] = []
    while True:
        order = random.sample(attacks, len(attacks))
        for attack in order:
            if len(rounds) >= len(attacks) and time.monotonic() + ROUND > ends:
                return rounds
            began = time.monotonic()
            made = await play(attack, binaries=binaries, seed=seed + len(rounds), keep=keep)
            rounds.append(made)
            verdict = "ok" if made.sound else "BROKEN"
            print(
                f"{verdict:7}{row(attack.name, [made])} in {time.monotonic() - began:.0f} s",
                flush=True,
            )
            for one in [*made.faults, *map(str, made.violations)][:20]:
                print(f"       {one[:400]}", flush=True)
        if not attacks:
            return rounds


if __name__ == "__main__":
    sys.exit(main())
