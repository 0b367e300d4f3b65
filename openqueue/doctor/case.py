"""The case before the doctor: what is known without the database, and from where on something is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

__all__ = ["Bounds", "Case"]

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Bounds:
    """From where on it is a finding; pairs are (warning, critical). Seconds, unless said otherwise.

    transaction    age of a transaction that keeps dead rows from being removed
    lock           wait for a lock
    dead_rows      rows, in a table whose live rows are fewer
    notify         share of the notification queue
    clock          difference of the clocks
    sessions       share of the connections of the server
    frozen         transactions since the oldest one that is not frozen, of 2 billions
    round_trip     to the database and back
    unattended     wait of a job that nobody can run
    slow           wait of a job in a queue that workers work on
    late           of a schedule's tick
    failed         how long ago a schedule's tick failed
    history        bytes, where nothing is ever removed
    looked_at      how many unfinished runs are looked at
    """

    transaction: tuple[float, float] = (300.0, 3600.0)
    lock: tuple[float, float] = (5.0, 60.0)
    dead_rows: int = 200_000
    notify: tuple[float, float] = (0.05, 0.5)
    clock: tuple[float, float] = (5.0, 300.0)
    sessions: tuple[float, float] = (0.85, 0.97)
    frozen: tuple[int, int] = (1_000_000_000, 1_600_000_000)
    round_trip: float = 0.05
    unattended: float = 60.0
    slow: float = 300.0
    late: float = 60.0
    failed: float = 86_400.0
    history: int = 10 * GIB
    looked_at: int = 200_000


@dataclass(frozen=True, slots=True)
class Case:
    """An installation, as its settings describe it.

    url, listen_url   None: no database is configured, and `no_url` says what to do
    pooled            the settings say that a pooler in transaction mode stands before `url`
    tasks             those found where the settings say; None: `tasks_fault` says why they cannot be
    looked_in         where they were looked for
    silence           seconds without a beat after which a worker is not taken for alive
    retention         whether the settings have history removed some day
    remarks           what is odd about the settings
    """

    url: SecretStr | None
    schema: str = "openqueue"
    namespace: str = "default"
    listen_url: SecretStr | None = None
    pooled: bool = False
    no_url: str = ""
    tasks: Sequence[str] | None = ()
    tasks_fault: str = ""
    looked_in: Sequence[str] = ()
    silence: float = 15.0
    poll: float = 2.0
    retention: bool = False
    remarks: Sequence[str] = ()
    timeout: float = 5.0
    bounds: Bounds = field(default_factory=Bounds)
