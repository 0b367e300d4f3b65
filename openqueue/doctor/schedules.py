"""Schedules: those that cannot fire, do not fire in time, or fire into the void."""

from __future__ import annotations

from shlex import quote

from openqueue.codec import decode
from openqueue.doctor.case import Case
from openqueue.doctor.findings import Finding, Judgement, Row, Rows, Severity
from openqueue.doctor.phrases import ago, count
from openqueue.errors import InvalidOption
from openqueue.scheduler.rules import Rule

__all__ = ["judge_schedules"]


def judge_schedules(rows: Rows, case: Case) -> Judgement:
    """One finding a schedule at most: the first thing that has to be mended."""
    schedules = rows["doctor_schedules"]
    published = {row["task"] for row in rows["catalog"]}
    aliases = " ".join(row["options"] for row in rows["catalog"])
    computing = {
        row["task"]
        for row in rows["catalog"]
        if isinstance(decode(row["options"]).get("concurrency_key"), dict)
    }
    findings = [
        found
        for row in schedules
        if (
            found := _invalid(row)
            or _unpublished(row, published, aliases)
            or _without_key(row, computing)
            or _failed(row, case)
            or _late(row, case)
        )
    ]
    return Judgement(count(len(schedules), "schedule"), tuple(findings))


def _finding(row: Row, severity: Severity, what: str, why: str, *mend: str) -> Finding:
    details = {"schedule": row["key"], "task": row["task"]}
    return Finding(severity, f"Schedule {row['key']} {what}", why, mend, details)


def _invalid(row: Row) -> Finding | None:
    fault = row["invalid"] or (_fault(row) if row["late"] is None else None)
    if fault is None:
        return None
    return _finding(
        row,
        Severity.CRITICAL,
        f"cannot be computed: {fault}",
        "It fires nothing until it is edited.",
        f"openqueue schedule update {quote(row['key'])} --cron '…'   # or --every, or --timezone",
    )


def _fault(row: Row) -> str | None:
    """Why nothing can be computed of one that no leader has computed yet."""
    try:
        Rule(row["cron"], row["every"], row["timezone"], row["start_at"], row["end_at"])
    except InvalidOption as error:
        return str(error)
    return None


def _unpublished(row: Row, published: set[str], aliases: str) -> Finding | None:
    if row["pause_reason"] == "no live worker publishes its task" and row["paused"]:
        return _finding(
            row,
            Severity.WARNING,
            f"was paused because no worker has published its task {row['task']} for {ago(row['unseen'])}.",
            "The code that declares it runs nowhere: it was removed, or its workers were forgotten.",
            "openqueue worker   # with that code: the schedule goes on by itself",
            f"openqueue schedule remove {quote(row['key'])}   # if it is not wanted any more",
        )
    if row["task"] in published or f'"{row["task"]}"' in aliases:
        return None
    return _finding(
        row,
        Severity.WARNING,
        f"runs task {row['task']}, which no worker has ever published.",
        "Its runs are enqueued in time, and wait until a worker comes that has the task.",
        "openqueue tasks   # is the name right? Then start a worker that has it: openqueue worker",
        f"openqueue schedule show {quote(row['key'])}",
    )


def _without_key(row: Row, computing: set[str]) -> Finding | None:
    if row["concurrency_key"] is not None or row["task"] not in computing:
        return None
    return _finding(
        row,
        Severity.WARNING,
        f"has no concurrency key, and task {row['task']} works one out for its runs.",
        "It was added by the task's name, or with SQL. Its runs keep no limit, nor the order, of a key.",
        f"openqueue schedule update {quote(row['key'])} --concurrency-key '…'",
        "# or add it anew in Python, with the task itself: it works the key out",
    )


def _failed(row: Row, case: Case) -> Finding | None:
    if row["last_error"] is None or row["failed"] is None or row["failed"] > case.bounds.failed:
        return None
    return _finding(
        row,
        Severity.WARNING,
        f"could not enqueue a tick {ago(row['failed'])} ago: {row['last_error']}",
        "That tick has no run; the schedule goes on with the next one.",
        f"openqueue schedule show {quote(row['key'])}   # mend its input or options: schedule update",
    )


def _late(row: Row, case: Case) -> Finding | None:
    if row["paused"] or row["late"] is None or row["late"] < case.bounds.late:
        return None
    return _finding(
        row,
        Severity.WARNING,
        f"is {ago(row['late'])} late: its tick has not been decided.",
        "Nobody leads, or the leader does not get to it. What is missed is made up for as its catch_up says.",
        "openqueue doctor --only leader,workers",
        "openqueue worker   # any worker can lead",
    )
