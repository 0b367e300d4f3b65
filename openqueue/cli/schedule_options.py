"""The flags that `schedule add` and `schedule update` share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from openqueue.cli.completing import complete_queue, complete_schedule

__all__ = [
    "AllowUnknown",
    "CatchUp",
    "ConcurrencyKey",
    "Cron",
    "Deadline",
    "End",
    "Every",
    "Jitter",
    "Key",
    "MaxAttempts",
    "MaxRuns",
    "Meta",
    "Overlap",
    "Priority",
    "Queue",
    "Start",
    "Tag",
    "Timezone",
]

_RULE, _RUNS = "When", "Its runs"
Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="The schedule's key.", show_default=False, autocompletion=complete_schedule
    ),
]


def _rule(name: str, metavar: str, text: str) -> Any:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=_RULE)


def _runs(name: str, metavar: str, text: str) -> Any:
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=_RUNS)


Cron = Annotated[str | None, _rule("--cron", "CRON", "An expression: '0 2 * * *', '@daily', 'H H * * *'.")]
Every = Annotated[str | None, _rule("--every", "DURATION", "Or an interval: 90s, 5m, 1h30m.")]
Timezone = Annotated[str | None, _rule("--timezone", "ZONE", "Whose clock --cron is about (UTC).")]
Start = Annotated[str | None, _rule("--start", "TIME", "Not before then: 2026-12-24T18:00+01:00.")]
End = Annotated[str | None, _rule("--end", "TIME", "Not after then.")]
MaxRuns = Annotated[str | None, _rule("--max-runs", "N", "Finished after so many runs.")]
CatchUp = Annotated[str | None, _rule("--catch-up", "N", "How many missed ticks run after a downtime (0).")]
Overlap = Annotated[
    str | None, _rule("--overlap", "POLICY", "While a run goes on: allow, skip, queue or cancel_previous.")
]
Jitter = Annotated[str | None, _rule("--jitter", "DURATION", "Delay each run by up to that.")]
Queue = Annotated[
    str | None,
    typer.Option(help="Instead of the task's.", rich_help_panel=_RUNS, autocompletion=complete_queue),
]
Priority = Annotated[str | None, _runs("--priority", "N", "-32768 … 32767, lower first.")]
MaxAttempts = Annotated[str | None, _runs("--max-attempts", "N", "How often each is tried in all.")]
Deadline = Annotated[str | None, _runs("--deadline", "DURATION", "Not started by then, it expires.")]
Meta = Annotated[list[str] | None, _runs("--meta", "KEY=VALUE", "Facts to find it by; may be JSON.")]
ConcurrencyKey = Annotated[
    str | None, _runs("--concurrency-key", "KEY", "Runs with the same one share a limit.")
]
Tag = Annotated[list[str] | None, _runs("--tag", "TAG", "A tag; may be repeated.")]
AllowUnknown = Annotated[
    bool, typer.Option("--allow-unknown", help="Also if no worker has published such a task.")
]
