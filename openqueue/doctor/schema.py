"""The schema: whether it fits, whether the months to come have tables, who may use it, its size."""

from __future__ import annotations

from typing import Final

from openqueue.db.ledger import State, Status
from openqueue.doctor.case import Case
from openqueue.doctor.findings import Finding, Judgement, Rows, Severity
from openqueue.doctor.phrases import count, listed, size

__all__ = [
    "AHEAD",
    "FUNCTIONS",
    "TABLES",
    "judge_history",
    "judge_partitions",
    "judge_rights",
    "judge_status",
]

AHEAD: Final = 2
"""Months for which there are partitions while somebody sees to it."""

FUNCTIONS: Final = (
    *(
        "add_batch",
        "add_one",
        "add_same",
        "claim_jobs",
        "claim_lane",
        "start_jobs",
        "finish_jobs",
        "put_back",
    ),
    *(
        "log_runs",
        "register_worker",
        "publish_tasks",
        "beat_worker",
        "beat_worker_and_tell",
        "tell_stats",
        "leave_worker",
        "lost_jobs",
        "rescue",
        "set_bells",
    ),
    *("cancel_run", "await_runs", "find_run", "lead", "resign", "fire_ticks"),
    *("publish_schedules", "publish_controls", "ensure_partitions"),
)
"""What a worker calls."""

TABLES: Final = tuple(
    (table, right)
    for table, rights in {
        "jobs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "claims": ("SELECT", "INSERT", "DELETE"),
        "workers": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "lanes": ("SELECT", "INSERT", "UPDATE"),
        "run_requests": ("SELECT", "INSERT"),
        "attempts": ("SELECT", "INSERT"),
        "run_log": ("SELECT", "INSERT"),
        "stats_deltas": ("SELECT", "INSERT", "DELETE"),
        "catalog": ("SELECT", "INSERT", "UPDATE"),
    }.items()
    for right in rights
)
"""What those functions need of tables, as far as they do not run with their owner's rights."""


def judge_status(status: Status) -> Judgement:
    """How the schema stands to this version of openqueue."""
    if status.state is State.CURRENT:
        return Judgement(f"{status.schema}, migration {status.applied}")
    ahead = status.state is State.AHEAD
    why = {
        State.MISSING: "There is nothing yet to enqueue into.",
        State.BEHIND: "Workers of this version refuse to start; those of the version before go on.",
        State.AHEAD: "A deploy under way looks like this. This command may not know all that workers do.",
        State.CHANGED: "What this version expects and what is there may differ: it refuses to work.",
    }[status.state]
    mend = "pip install --upgrade openqueue" if ahead else "openqueue migrate"
    found = Finding(
        Severity.NOTICE if ahead else Severity.CRITICAL,
        str(status).partition(" Run: ")[0].rstrip(".") + ".",
        why,
        (
            mend
            if status.state is not State.CHANGED
            else "openqueue migrate --check   # see which file differs",
        ),
        {"state": str(status.state), "migration": status.applied, "wanted": status.wanted},
    )
    return Judgement(f"{status.schema}, {status.state}", (found,))


def judge_rights(rows: Rows, _case: Case) -> Judgement:
    """Whether this user may do what a worker does."""
    found = rows["doctor_rights"]
    owned = {row["name"] for row in found if row["definer"]}
    needs_tables = "finish_jobs" not in owned
    denied = [row for row in found if not row["may"] and (needs_tables or row["kind"] != "table")]
    if not denied:
        return Judgement("all that a worker needs")
    named = [f"{row['needed']} on {row['kind']} {row['name']}" for row in denied]
    schema = any(row["kind"] == "schema" for row in denied)
    return Judgement(
        f"{len(denied)} missing",
        (
            Finding(
                Severity.WARNING,
                f"This user lacks what a worker needs: {listed(named, 4)}.",
                "A worker as this user would not start, or fail at its first job. For a program that only"
                " enqueues it may be as it was meant." if not schema else
                "As this user nothing can be enqueued nor read, and no worker can work.",
                ("openqueue migrate --roles   # as the schema's owner; then: GRANT openqueue_worker TO …",),
                {"missing": named},
            ),
        ),
    )  # fmt: skip


def judge_partitions(rows: Rows, _case: Case) -> Judgement:
    """Whether this month and the next ones have their tables."""
    findings = tuple(
        Finding(
            _PARTITION[min(row["ahead"], 2)],
            f"There is no partition for {row['month']}{' (this month)' if not row['ahead'] else ''}:"
            f" {', '.join(row['missing'])}.",
            f"Now {_without(row['missing'])}" if not row["ahead"] else
            f"From its first day on {_without(row['missing'])} Workers make it ahead: one that may has not.",
            ("openqueue migrate",),
            dict(row),
        )
        for row in rows["doctor_partitions"]
    )  # fmt: skip
    return Judgement("this month and the next ones" if not findings else "some are missing", findings)


def _without(missing: list[str]) -> str:
    """What cannot be done without these tables."""
    if "run_requests" in missing:
        return "nothing can be enqueued."
    what = "no outcome of a run" if "attempts" in missing else "no line of log of a run"
    return f"{what} that is enqueued in that month can be stored."


_PARTITION = {0: Severity.CRITICAL, 1: Severity.WARNING, 2: Severity.NOTICE}


def judge_history(rows: Rows, case: Case) -> Judgement:
    """Its size, where nobody ever removes any of it."""
    (row,) = rows["doctor_history"]
    said = f"{size(row['bytes'])} in {count(row['months'], 'month')}"
    if row["bytes"] < case.bounds.history or case.retention:
        return Judgement(said)
    return Judgement(
        said,
        (
            Finding(
                Severity.WARNING,
                f"The history has {size(row['bytes'])}, back to {row['first'][:4]}-{row['first'][4:]}, and no"
                " retention is set.",
                "It is kept for ever and never gets smaller. Nothing gets slower; disks fill, and backups.",
                ("openqueue runs prune --older-than 90d --dry-run   # and set retention",),
                dict(row),
            ),
        ),
    )
