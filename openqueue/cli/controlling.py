"""What the commands that limit, pause and resume have in common: their flags, and what is said afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from openqueue.cli.output import say
from openqueue.cli.session import client, run_async
from openqueue.cli.values import flags, read_lasting, read_time
from openqueue.errors import InvalidOption, did_you_mean

if TYPE_CHECKING:
    from openqueue.control.changes import Change, Kept
    from openqueue.control.model import Control
    from openqueue.settings import Settings

__all__ = [
    "Burst",
    "Concurrency",
    "RateFlag",
    "Reason",
    "Until",
    "apply",
    "limits",
    "naming",
    "read_until",
    "refuse_none",
    "taken",
]

T = TypeVar("T")

NONE = "none"
"""What takes a value back, written for any flag."""

Concurrency = Annotated[
    str | None,
    typer.Option(metavar="N", help="How many may run at once, in all processes; none takes it back."),
]
RateFlag = Annotated[
    str | None,
    typer.Option(
        "--rate", metavar="RATE", help="How many may begin in a period: 100/1m; none takes it back."
    ),
]
Burst = Annotated[
    str | None,
    typer.Option(metavar="N", help="How many of the rate may begin at once; else they are spread."),
]
Until = Annotated[
    str | None, typer.Option(metavar="TIME", help="How long (30m), or a time; else until it is resumed.")
]
Reason = Annotated[str | None, typer.Option(help="Shown with the pause.")]


def naming() -> AbstractContextManager[None]:
    """Within the block what is refused is named as the flag that it was given with."""
    words = ("concurrency", "rate", "burst", "fairness", "ageing", "until", "reason", "group")
    named = {word: f"--{word}" for word in words}
    return flags(**named, weights="--weight", queue="NAME", task="NAME", key="KEY")


def taken(text: str | None, read: Any = str) -> Any:
    """What a flag says: KEPT where it was not given, None for `none`, else what is read."""
    from openqueue.control.changes import KEPT

    if text is None:
        return KEPT
    return None if text.strip().lower() == NONE else read(text)


def limits(
    scope: tuple[str, str, str], concurrency: str | None, rate: str | None, burst: str | None
) -> list[Change]:
    """What the flags of a limit say; nothing if none was given."""
    from openqueue.control.changes import limited

    if concurrency is None and rate is None and burst is None:
        return []
    most: int | Kept | None = taken(concurrency, lambda text: _whole(text, "concurrency"))
    return [limited(scope, most, taken(rate), None if burst is None else _whole(burst, "burst"))]


def refuse_none(changes: Sequence[Change], *flags: str) -> None:
    """Raise InvalidOption, naming the flags that there are, where none of them was given."""
    if not changes:
        *others, last = flags
        said = f"{flags[0]}: nothing is said. Give {', '.join(others)} or {last}."
        raise InvalidOption(said, option=flags[0])


def read_until(text: str | None) -> datetime | timedelta | None:
    """How long, or a moment with its time zone."""
    if text is None:
        return None
    try:
        return read_lasting(text, "--until")
    except InvalidOption:
        pass
    try:
        moment = read_time(text, "--until")
    except InvalidOption as error:
        raise InvalidOption(f"{error} Or how long: 30m, 2h.", option="--until") from None
    if moment <= datetime.now(UTC):
        raise InvalidOption(f"--until: {text!r} is over already. Give a time to come.", option="--until")
    return moment


def apply(settings: Settings, changes: Sequence[Change], known: str) -> Sequence[Control]:
    """Say it, and answer what holds then; tells of a name that nothing is known of.

    `known`: the statement whose rows have those that are.
    """
    return run_async(_applied(settings, changes, known))


async def _applied(settings: Settings, changes: Sequence[Change], known: str) -> Sequence[Control]:
    async with client(settings) as opened:
        await opened.controls.say(changes)
        found = await opened.controls.list()
        first = changes[0]
        name = first.queue or first.name
        names = [next(iter(row.values())) for row in await opened.database.fetch(known, opened.namespace)]
    if first.kind != "all" and name not in names:
        kind = {"task": "task", "key": "concurrency key"}.get(first.kind, "queue")
        near = did_you_mean(name, names)
        say(f"Remark: nothing is known of a {kind} {name!r}; what was said holds once there is one.{near}")
    return [one for one in found if any(_is_of(one, change) for change in changes)]


def _is_of(one: Control, change: Change) -> bool:
    return (one.kind, one.name, one.queue or "") == (change.kind, change.name, change.queue)


def _whole(text: str, option: str) -> int:
    if not text.strip().isdecimal() or len(text.strip()) > 9:
        raise InvalidOption(f"{option}: {text!r} is not a whole number, such as 5.", option=option)
    return int(text)


def weights_of(pairs: Sequence[str]) -> Mapping[str, float | None]:
    """`gold=3`, several; none takes one back."""
    found: dict[str, float | None] = {}
    for pair in pairs:
        group, _, weight = pair.rpartition("=")
        try:
            found[group] = None if weight.lower() == NONE else float(weight)
        except ValueError:
            group = ""
        if not group:
            raise InvalidOption(f"weights: {pair!r} is not GROUP=WEIGHT, such as gold=3.", option="weights")
    return found
