"""The server: whether it takes writes, what it is set to, how many sessions it has left."""

from __future__ import annotations

from openqueue.db.quoting import quote_ident
from openqueue.doctor.case import Case
from openqueue.doctor.findings import Finding, Judgement, Row, Rows, Severity
from openqueue.doctor.phrases import ago, psql

__all__ = ["judge_server", "judge_settings"]

_SHORTEST = 30.0
"""Seconds that a statement of ours may take at least: a migration, the first look at a great backlog."""

_IDLE = 30.0
"""Seconds between two signs of life of a session that listens, with something to spare."""

_BROKEN = (
    "A crash of the server's machine can destroy the whole database, every job with it. For tests and"
    " development only."
)
_DURABLE = {
    "fsync": _BROKEN,
    "full_page_writes": _BROKEN,
    "synchronous_commit": "A crash of the server forgets the last half second: jobs that were enqueued,"
    " and results, so that runs that had ended run again.",
}

_TIMEOUTS = {
    "statement_timeout": (
        _SHORTEST,
        "Claims on a busy server and migrations may take longer, and are cut off.",
    ),
    "transaction_timeout": (_SHORTEST, "Migrations may take longer, and are cut off."),
    "idle_session_timeout": (
        _IDLE,
        "Sessions that listen and beat are idle by nature: workers lose them, and with them their liveness.",
    ),
}


def judge_server(rows: Rows, case: Case) -> Judgement:
    """Version, standby, sessions left, transaction ids left."""
    (row,) = rows["doctor_server"]
    findings = [*_writes(row), *_sessions(row, case), *_frozen(row, case), *_sight(row)]
    said = f"PostgreSQL {row['version'].split()[0]}, {row['sessions']} of {row['room']} sessions in use"
    return Judgement(said, tuple(findings))


def _writes(row: Row) -> list[Finding]:
    if not row["standby"] and not row["read_only"]:
        return []
    what = (
        "is a standby" if row["standby"] else f"lets {row['role']} only read (default_transaction_read_only)"
    )
    return [
        Finding(
            Severity.CRITICAL,
            f"The server {what}: nothing can be enqueued, and no worker can work.",
            "Everything openqueue does is a write.",
            ("openqueue config   # which URL is in force: give that of the primary",),
        )
    ]


def _sessions(row: Row, case: Case) -> list[Finding]:
    share = row["sessions"] / max(row["room"], 1)
    warning, critical = case.bounds.sessions
    if share < warning:
        return []
    return [
        Finding(
            Severity.CRITICAL if share >= critical else Severity.WARNING,
            f"{row['sessions']} of the server's {row['room']} sessions are in use.",
            "Who comes next is turned away: workers that reconnect, web processes that enqueue.",
            (
                "openqueue config   # lower pool_size (a worker takes it and up to three more), or workers",
                "# or put PgBouncer in front (docs/pgbouncer.md), or raise max_connections and restart",
            ),
            {"sessions": row["sessions"], "room": row["room"]},
        )
    ]


def _frozen(row: Row, case: Case) -> list[Finding]:
    warning, critical = case.bounds.frozen
    if row["frozen_age"] is None or row["frozen_age"] < warning:
        return []
    return [
        Finding(
            Severity.CRITICAL if row["frozen_age"] >= critical else Severity.WARNING,
            f"{row['frozen_age']:,} transactions since this database was last frozen, of 2,000,000,000.",
            "VACUUM does not keep up, or something holds it up; at the end the server refuses all writes.",
            ("vacuumdb --freeze --all   # after what `openqueue doctor --only transactions` names has gone",),
            {"frozen_age": row["frozen_age"]},
        )
    ]


def _sight(row: Row) -> list[Finding]:
    if row["sees_all"]:
        return []
    return [
        Finding(
            Severity.NOTICE,
            f"User {row['role']} does not see what sessions of other users do.",
            "Transactions and locks of others are shown without their age and their query, or not at all.",
            (psql(f"-c GRANT pg_read_all_stats TO {quote_ident(row['role'])}") + "   # as a superuser",),
        )
    ]


def judge_settings(rows: Rows, _case: Case) -> Judgement:
    """Settings of the server, the database or the user that hurt."""
    found = {row["name"]: row for row in rows["doctor_settings"]}
    findings = [*_durability(found), *_vacuum(found), *_isolation(found), *_limits(found)]
    return Judgement("none that hurts" if not findings else ", ".join(_changed(found)), tuple(findings))


def _changed(found: dict[str, Row]) -> list[str]:
    return [f"{name}={row['setting']}" for name, row in found.items() if row["source"] != "default"]


def _is_off(found: dict[str, Row], name: str) -> bool:
    return name in found and found[name]["setting"] == "off"


_ELSEWHERE = {
    "client": "take it out of the database URL, PGOPTIONS or what the pooler sends",
    "session": "take out what says SET {name}: the pooler's connect_query, or code that has the connection",
    "command line": "start the server without it",
    "environment variable": "start the server without it",
}
"""What to do where no statement on the server helps, by the place where a setting was made."""


_SYSTEM = (("-c ALTER SYSTEM SET {name} = on", "-c SELECT pg_reload_conf()"), "")
_UNDO = {
    "database": (("-c ALTER DATABASE {database} RESET {name}",), ""),
    "user": (("-c ALTER ROLE CURRENT_USER RESET {name}",), ""),
    "database user": (("-c ALTER ROLE CURRENT_USER IN DATABASE {database} RESET {name}",), ""),
    "global": (("-c ALTER ROLE ALL RESET {name}",), "   # as a superuser"),
    "configuration file": _SYSTEM,
    "default": _SYSTEM,
}
"""How to take a setting back that is off, and a remark, by the place where it was made."""
_SET = "-c ALTER ROLE CURRENT_USER{where} SET {name} = {value}"


def _elsewhere(row: Row) -> str:
    said = _ELSEWHERE.get(row["source"], "take it back where it was made").format(name=row["name"])
    return f"# {row['name']}={row['setting']} is given by the {row['source']}: {said}"


def _undo(row: Row) -> str:
    """The command that takes a setting back that is off, where it was set."""
    if row["source"] not in _UNDO:
        return _elsewhere(row)
    options, remark = _UNDO[row["source"]]
    names = {"name": row["name"], "database": quote_ident(row["database"])}
    return psql(*(option.format(**names) for option in options)) + remark


def _for_this_user(row: Row, value: str, remark: str = "") -> str:
    """The command that gives a setting another value for this user, wherever it was set."""
    if row["source"] in ("client", "session"):  # which are stronger than what is said of the user
        return _elsewhere(row)
    where = f" IN DATABASE {quote_ident(row['database'])}" if row["source"] == "database user" else ""
    return psql(_SET.format(where=where, name=row["name"], value=value)) + remark


def _durability(found: dict[str, Row]) -> list[Finding]:
    return [
        Finding(
            Severity.WARNING,
            f"{name} is off ({found[name]['source']}).",
            why,
            (_undo(found[name]),),
        )
        for name, why in _DURABLE.items()
        if _is_off(found, name)
    ]


def _vacuum(found: dict[str, Row]) -> list[Finding]:
    return [
        Finding(
            Severity.CRITICAL,
            f"{name} is off.",
            "Dead rows of the live table are never removed: it grows with every job that was ever run.",
            (_undo(found[name]),),
        )
        for name in ("autovacuum", "track_counts")
        if _is_off(found, name)
    ]


def _isolation(found: dict[str, Row]) -> list[Finding]:
    row = found.get("default_transaction_isolation")
    if row is None or (level := row["setting"]) == "read committed":
        return []
    return [
        Finding(
            Severity.WARNING,
            f"default_transaction_isolation is {level}.",
            "Claims and outcomes of several workers conflict all the time and are repeated: slower, and"
            " refused at last.",
            (_for_this_user(row, '"read committed"'),),
        )
    ]


def _limits(found: dict[str, Row]) -> list[Finding]:
    """Timeouts that end what may take long, or sessions that only listen."""
    findings = []
    for name, (least, why) in _TIMEOUTS.items():
        milliseconds = int(found[name]["setting"]) if name in found else 0
        if 0 < milliseconds < least * 1000:
            findings.append(
                Finding(
                    Severity.WARNING,
                    f"{name} is {ago(milliseconds / 1000)} for this user ({found[name]['source']}).",
                    why,
                    (_for_this_user(found[name], "0", "   # the client has its own"),),
                    {"milliseconds": milliseconds},
                )
            )
    return findings
