"""Shares of groups over time, under each fairness, with a real worker: `python -m tests.bench.shares`.

Prints Jain's index of each and writes docs/fairness.svg. One group has most of the jobs and came first, a
second came behind it, a third comes while the worker is busy.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import openqueue
from openqueue import task
from openqueue.control.model import Fairness
from openqueue.db.migrations import migrate
from tests.support.eventually import eventually
from tests.support.own_server import OwnServer
from tests.support.worker_here import working

TARGET = Path(__file__).resolve().parents[2] / "docs" / "fairness.svg"
GROUPS: Final = {"large": 3000, "early": 900, "late": 600}
WEIGHTS: Final = {"large": 1.0, "early": 1.0, "late": 3.0}
COLOURS: Final = {"large": "#4c78a8", "early": "#f58518", "late": "#54a24b"}
LATE_AFTER: Final = 600
WINDOW: Final = 60
"""Runs begun of which a share is taken."""

begun: list[tuple[float, str]] = []


@task(name="shares.note", queue="shares")
async def note(group: str) -> None:
    begun.append((time.monotonic(), group))
    await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Measured:
    """How one fairness went: who began when, and from which to which run all three waited."""

    fairness: Fairness
    order: list[str]
    seconds: float
    late_from: int

    @property
    def together(self) -> list[str]:
        """What began while all of them had something waiting."""
        left = Counter(GROUPS)
        for number, group in enumerate(self.order):
            left[group] -= 1
            if left[group] == 0 and number > self.late_from:
                return self.order[self.late_from : number]
        return self.order[self.late_from :]

    @property
    def jain(self) -> float:
        """Jain's index of what each got for its weight: 1 is fair, 1/3 is all for one of three."""
        weights = WEIGHTS if self.fairness == "weighted" else dict.fromkeys(GROUPS, 1.0)
        got = Counter(self.together)
        each = [got[group] / weights[group] for group in GROUPS]
        return sum(each) ** 2 / (len(each) * sum(one**2 for one in each))


async def measure(dsn: str, fairness: Fairness) -> Measured:
    """One worker of ten places works off all groups."""
    begun.clear()
    async with openqueue.connect(dsn) as client:
        await client.controls.fairness("shares", fairness, weights=WEIGHTS)
        for group in ("large", "early"):
            many = note.options(group=group)
            await client.enqueue_many(many.item(group) for _ in range(GROUPS[group]))
        async with working(dsn, note, concurrency=10):
            await eventually(lambda: len(begun) >= LATE_AFTER, timeout=120, what="the first of them")
            late = note.options(group="late")
            await client.enqueue_many(late.item("late") for _ in range(GROUPS["late"]))
            late_from = len(begun)
            total = sum(GROUPS.values())
            await eventually(lambda: len(begun) >= total, timeout=300, what="all of them")
    return Measured(fairness, [group for _, group in begun], begun[-1][0] - begun[0][0], late_from)


def drawn(found: list[Measured]) -> str:
    """The shares as an SVG: a panel each, stacked areas over the runs begun. Pure."""
    width, height, left, gap = 640, 110, 110, 34
    total = sum(GROUPS.values())
    parts = []
    for panel, one in enumerate(found):
        top = 30 + panel * (height + gap)
        parts.append(f'<text x="8" y="{top + 18}" font-weight="bold">{one.fairness}</text>')
        parts.append(f'<text x="8" y="{top + 38}">Jain {one.jain:.3f}</text>')
        below = [0.0] * (total // WINDOW)
        for group in GROUPS:
            above = [
                low + one.order[n * WINDOW : (n + 1) * WINDOW].count(group) / WINDOW
                for n, low in enumerate(below)
            ]
            there = [_point(n, y, len(below), left, top, width, height) for n, y in enumerate(above)]
            back = [_point(n, y, len(below), left, top, width, height) for n, y in enumerate(below)]
            points = " ".join([*there, *reversed(back)])
            parts.append(f'<polygon points="{points}" fill="{COLOURS[group]}"/>')
            below = above
        x = left + one.late_from / total * width
        parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + height}" stroke="#222"/>')
    bottom = 30 + len(found) * (height + gap)
    parts.append(
        f'<text x="{left}" y="{bottom - 8}">runs begun, 0 to {total}; the line: "late" arrives</text>'
    )
    for place, (group, colour) in enumerate(COLOURS.items()):
        x = left + place * 110
        parts.append(
            f'<rect x="{x}" y="8" width="12" height="12" fill="{colour}"/>'
            f'<text x="{x + 18}" y="18">{group}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 10} {bottom + 6}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        + "\n".join(parts)
        + "</svg>\n"
    )


def _point(n: int, share: float, count: int, left: int, top: int, width: int, height: int) -> str:
    return f"{left + n / max(1, count - 1) * width:.1f},{top + (1 - share) * height:.1f}"


async def main() -> None:
    found = []
    kinds: tuple[Fairness, ...] = ("strict", "round_robin", "weighted")
    with OwnServer.temporary() as server:
        await migrate(server.dsn())
        for fairness in kinds:
            one = await measure(server.dsn(), fairness)
            shares = Counter(one.together)
            print(
                f"{fairness}: Jain {one.jain:.3f} over {len(one.together)} runs while all three waited"
                f" ({', '.join(f'{group} {shares[group]}' for group in GROUPS)}); {one.seconds:.1f} s in all",
                flush=True,
            )
            found.append(one)
    TARGET.write_text(drawn(found))


if __name__ == "__main__":
    asyncio.run(main())
