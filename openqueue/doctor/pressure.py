"""What holds the database up: dead rows and who pins them, locks, the queue of notifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openqueue.db.quoting import quote_ident, quote_literal
from openqueue.doctor.case import Case
from openqueue.doctor.findings import Finding, Judgement, Row, Rows, Severity
from openqueue.doctor.phrases import ago, count, psql, size, statement

__all__ = ["judge_dead_rows", "judge_locks", "judge_notifications", "judge_transactions"]


def _grade(value: float, bounds: tuple[float, float]) -> Severity | None:
    """The severity of a value, if it is one."""
    warning, critical = bounds
    return Severity.CRITICAL if value >= critical else Severity.WARNING if value >= warning else None


def judge_dead_rows(rows: Rows, case: Case) -> Judgement:
    """Tables with more dead rows than live ones, and too many, or of which nobody removes any."""
    tables = rows["doctor_dead_rows"]
    findings = [_unattended(row, case) for row in tables if row["unattended"]]
    for row in tables:
        if row["dead"] >= case.bounds.dead_rows and row["dead"] > row["live"]:
            since = (
                f"vacuumed {ago(row['vacuumed'])} ago" if row["vacuumed"] is not None else "never vacuumed"
            )
            findings.append(
                Finding(
                    Severity.WARNING,
                    f"Table {row['name']} has {count(row['dead'], 'dead row')} and"
                    f" {count(row['live'], 'live one')} ({size(row['bytes'])}, {since}).",
                    "Whoever looks over them, sweeps and lists, gets slower. Claims do not.",
                    (
                        "openqueue doctor --only transactions   # does anything keep VACUUM from it?",
                        psql(f"-c VACUUM (VERBOSE) {quote_ident(case.schema)}.{quote_ident(row['name'])}"),
                    ),
                    dict(row),
                )
            )
    most = max(tables, key=lambda row: row["dead"], default=None)
    said = "none" if most is None or not most["dead"] else f"{most['dead']:,} at most, in {most['name']}"
    return Judgement(said, tuple(findings))


_LOOK_AFTER = "-c ALTER TABLE {table} RESET (autovacuum_enabled)"


def _unattended(row: Row, case: Case) -> Finding:
    table = f"{quote_ident(case.schema)}.{quote_ident(row['name'])}"
    return Finding(
        Severity.CRITICAL,
        f"Autovacuum is turned off for table {row['name']} ({count(row['dead'], 'dead row')}).",
        "Its dead rows are never removed: it grows with every job that was ever run.",
        (psql(_LOOK_AFTER.format(table=table)),),
        dict(row),
    )


def judge_transactions(rows: Rows, case: Case) -> Judgement:
    """Who keeps dead rows from being removed, and for how long."""
    pins = rows["doctor_transactions"]
    findings = [found for row in pins if (found := _pin(row, case)) is not None]
    oldest = max((row["age"] for row in pins if row["age"] is not None), default=None)
    said = "none keeps dead rows" if oldest is None else f"the oldest is {ago(oldest)} old"
    return Judgement(said, tuple(findings))


def _pin(row: Row, case: Case) -> Finding | None:
    if row["kind"] in ("slot", "standby"):
        severity = Severity.WARNING if row["xids"] >= case.bounds.dead_rows else None
    else:
        severity = _grade(row["age"] or 0.0, case.bounds.transaction)
    if severity is None:
        return None
    return Finding(
        severity,
        _PINS[row["kind"]](row),
        "VACUUM removes no row that died since then, in any table of this database: jobs and its indexes grow"
        " with every run.",
        _ENDS[row["kind"]](row),
        dict(row),
    )


def _doing(row: Row) -> str:
    query = statement(row["query"])
    return f"{row['state'] or 'state unknown'}{f', last: {query}' if query else ''}"


_PINS = {
    "session": lambda row: (
        f"Session {row['name']} ({row['application'] or 'no application name'}, user {row['role']}) has been"
        f" in a transaction for {ago(row['age'])}: {_doing(row)}"
    ),
    "prepared": lambda row: (
        f"Prepared transaction {row['name']!r} of {row['role']} has waited for its COMMIT PREPARED for"
        f" {ago(row['age'])}."
    ),
    "slot": lambda row: (
        f"Replication slot {row['name']!r} ({row['state']}) keeps what {row['xids']:,} transactions left."
    ),
    "standby": lambda row: (
        f"Standby {row['application']!r} (hot_standby_feedback) keeps what {row['xids']:,} transactions left."
    ),
}
_ENDS: dict[str, Any] = {
    "session": lambda row: (
        f"psql -c 'SELECT pg_terminate_backend({row['name']})'   # what it did is rolled back",
    ),
    "prepared": lambda row: (
        psql(f"-c ROLLBACK PREPARED {quote_literal(row['name'])}") + "   # or COMMIT PREPARED",
    ),
    "slot": lambda row: (
        f"pg_recvlogical --drop-slot --slot {row['name']} --dbname …   # if nobody reads from it any more",
    ),
    "standby": lambda row: (
        f"psql -c 'SELECT pg_terminate_backend({row['name']})'   # or end the long query on the standby",
    ),
}


def judge_notifications(rows: Rows, case: Case) -> Judgement:
    """How full the queue of NOTIFY is, and who may keep it from being emptied."""
    first, *_ = found = rows["doctor_notify_queue"]
    usage, sessions = first["usage"], [row for row in found if row["pid"] is not None]
    severity = _grade(usage, case.bounds.notify)
    said = f"{usage:.1%} full"
    if severity is None:
        return Judgement(said)
    finding = Finding(
        severity,
        f"The queue of notifications is {said}. A session that has said LISTEN and stays in a transaction"
        f" keeps it from being emptied. {_in_transactions(sessions)}",
        "Once it is full, every transaction of the server that notifies fails at its commit, enqueues among"
        " them.",
        tuple(f"psql -c 'SELECT pg_terminate_backend({row['pid']})'   # if it listens" for row in sessions)
        or ("# end the session that listens and stays in a transaction: SELECT * FROM pg_stat_activity",),
        {**first, "sessions": [dict(row) for row in sessions]},
    )
    return Judgement(said, (finding,))


def _in_transactions(sessions: Sequence[Row]) -> str:
    """Those who may: which of them listens, PostgreSQL tells nobody else."""
    told = [
        f"session {row['pid']} ({row['application'] or 'no application name'}, database {row['database']}),"
        f" {ago(row['age'])}: {_doing(row)}"
        for row in sessions
    ]
    if not told:
        return "None is seen in a transaction now."
    return f"In a transaction for the longest time: {'; '.join(told)}"


def judge_locks(rows: Rows, case: Case) -> Judgement:
    """Sessions that wait for a lock on what is ours, and for whom."""
    waits = rows["doctor_locks"]
    blockers: dict[int, list[Row]] = {}
    for row in waits:
        blockers.setdefault(row["blocker"], []).append(row)
    findings = [found for rows in blockers.values() if (found := _blocked(rows, case)) is not None]
    said = "nobody waits" if not waits else f"{count(len(waits), 'session')} waiting"
    return Judgement(said, tuple(findings))


def _blocked(waiting: list[Row], case: Case) -> Finding | None:
    first = max(waiting, key=lambda row: row["waits"] or 0.0)
    severity = _grade(first["waits"] or 0.0, case.bounds.lock)
    if severity is None:
        return None
    others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    application, state = first["blocker_application"], first["blocker_state"]
    who = f"{application or 'no application name'}, {state or 'state unknown'}"
    query = statement(first["blocker_query"])
    pid = first["blocker"]
    return Finding(
        severity,
        f"Session {first['pid']} ({first['application'] or 'no application name'}){others} has waited"
        f" {ago(first['waits'])} for a lock on {first['on_what']}, which session {pid} ({who}) holds"
        f"{f', last: {query}' if query else ''}",
        "What waits holds locks of its own: soon others wait for it.",
        (
            f"psql -c 'SELECT pg_terminate_backend({pid})'   # what it did is rolled back"
            if pid
            else "psql -c 'SELECT * FROM pg_prepared_xacts'   # one of these holds it",
        ),
        {"blocker": pid, "blocked": [row["pid"] for row in waiting], **dict(first)},
    )
