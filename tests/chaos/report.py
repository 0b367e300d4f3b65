"""What came of it, as a table: one row an attack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

from tests.chaos.attack import Round

__all__ = ["row", "table"]

HEAD = ("attack", "rounds", "runs", "accepted", "lost", "begun again", "done twice", "seconds to recover", "")


def table(rounds: Iterable[Round], missing: Mapping[str, str]) -> str:
    """As Markdown. Seconds to recover: the median, and the longest."""
    by_name: dict[str, list[Round]] = defaultdict(list)
    for one in rounds:
        by_name[one.name].append(one)
    rows = [_cells(name, of) for name, of in sorted(by_name.items())]
    rows += [(name, "0", "", "", "", "", "", "", f"MISSING: {why}") for name, why in missing.items()]
    lines = [HEAD, tuple("---" for _ in HEAD), *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEAD))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def row(name: str, rounds: list[Round]) -> str:
    """One row of it, as Markdown."""
    return "| " + " | ".join(_cells(name, rounds)) + " |"


def _cells(name: str, rounds: list[Round]) -> tuple[str, ...]:
    seconds = [one for made in rounds for one in made.seconds]
    broken = sum(len(one.violations) + len(one.faults) for one in rounds)
    return (
        name,
        str(len(rounds)),
        str(sum(len(one.history.runs) for one in rounds)),
        str(sum(one.accepted for one in rounds)),
        str(sum(one.lost for one in rounds)),
        str(sum(one.again for one in rounds)),
        str(sum(one.twice for one in rounds)),
        f"{median(seconds):.1f}, at most {max(seconds):.1f}" if seconds else "",
        f"BROKEN: {broken}" if broken else "",
    )
