"""All checks, in the order in which they are told: what each reads, and who judges it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from openqueue.doctor.case import Case
from openqueue.doctor.findings import Judgement, Rows
from openqueue.doctor.pressure import judge_dead_rows, judge_locks, judge_notifications, judge_transactions
from openqueue.doctor.schedules import judge_schedules
from openqueue.doctor.schema import (
    AHEAD,
    FUNCTIONS,
    TABLES,
    judge_history,
    judge_partitions,
    judge_rights,
)
from openqueue.doctor.server import judge_server, judge_settings
from openqueue.doctor.work import judge_backlog, judge_leader, judge_pauses, judge_tasks, judge_workers

__all__ = ["ARGUMENTS", "CHECKS", "NAMES", "REACHING", "Check"]


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its name, what it is about, the named queries that it reads, and what judges their answers.

    `inside`: it is about the schema, although its queries can be asked without one.
    """

    name: str
    about: str
    reads: tuple[str, ...]
    judge: Callable[[Rows, Case], Judgement]
    inside: bool = False


REACHING: Final = {
    "settings": "what the settings say, and variables that set nothing",
    "connection": "the way to the database, and a pooler in between",
    "listen": "whether notifications arrive",
    "clock": "the database's clock against this machine's",
    "schema": "whether the schema fits this openqueue",
}
"""Checks that no query can answer for; in this order they come first."""

_WORK = ("doctor_waiting", "workers", "catalog")

CHECKS: Final = (
    Check("server", "version, standby, sessions left", ("doctor_server",), judge_server),
    Check("server-settings", "settings of the server that hurt", ("doctor_settings",), judge_settings),
    Check("rights", "what this user may do", ("doctor_rights",), judge_rights, inside=True),
    Check("partitions", "tables for months to come", ("doctor_partitions",), judge_partitions, inside=True),
    Check(
        "history",
        "its size, and who removes any",
        ("doctor_history",),
        judge_history,
        inside=True,
    ),
    Check(
        "transactions", "who keeps dead rows from being removed", ("doctor_transactions",), judge_transactions
    ),
    Check("dead-rows", "dead rows of the live tables", ("doctor_dead_rows",), judge_dead_rows),
    Check("locks", "who waits for a lock, and for whom", ("doctor_locks",), judge_locks),
    Check(
        "notify-queue",
        "how full the queue of notifications is",
        ("doctor_notify_queue",),
        judge_notifications,
    ),
    Check("workers", "workers that are stuck, silent or old", ("workers", "doctor_suspects"), judge_workers),
    Check("leader", "who fires schedules", ("doctor_leader", "workers", "doctor_schedules"), judge_leader),
    Check("tasks", "tasks found here, published, and missing", _WORK, judge_tasks),
    Check("backlog", "jobs that nobody takes in time", (*_WORK, "controls_in_force"), judge_backlog),
    Check(
        "pauses",
        "what is paused, and what waits for it",
        ("controls_in_force", "doctor_waiting"),
        judge_pauses,
    ),
    Check(
        "schedules",
        "schedules that do not fire as they should",
        ("doctor_schedules", "catalog"),
        judge_schedules,
    ),
)

NAMES: Final = (*REACHING, *(one.name for one in CHECKS))

_NAMESPACE: Callable[[Case], tuple[Any, ...]] = lambda case: (case.namespace,)  # noqa: E731  a row of the table
ARGUMENTS: Final[Mapping[str, Callable[[Case], tuple[Any, ...]]]] = {
    "doctor_rights": lambda _: (list(FUNCTIONS), *map(list, zip(*TABLES, strict=True))),
    "doctor_partitions": lambda _: (AHEAD,),
    "doctor_waiting": lambda case: (case.namespace, case.bounds.looked_at),
    "controls_in_force": lambda case: (case.namespace, None, None),
    **dict.fromkeys(
        ("workers", "catalog", "doctor_leader", "doctor_suspects", "doctor_schedules"), _NAMESPACE
    ),
}
"""What each query is given; the others take nothing."""
