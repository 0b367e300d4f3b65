"""What is on disk against what the database says was applied: pure, decided from values.

Migrations are numbered files, applied once and forward only; the engine (functions and views) is a set
of files, replaced as a whole whenever it differs. Checksums are of the raw text, so that a file that
changed after it was applied is noticed whatever the schema is called.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from openqueue.db.partitioned import NO_PARTITIONS, Partitions
from openqueue.db.statements import Statements, read_sql
from openqueue.errors import SchemaError

__all__ = [
    "Engine",
    "Ledger",
    "Migration",
    "State",
    "Status",
    "judge",
    "own_version",
    "read_ledger",
    "refuse_changed",
    "refuse_foreign",
]

_FILE = re.compile(r"(\d{4})_\w+\.sql")
_OUTSIDE = "-- transaction: none"
_MADE = re.compile(
    r"^\s*CREATE (?:OR REPLACE )?(FUNCTION|AGGREGATE|VIEW|TRIGGER) (?::schema\.)?(\w+)", re.MULTILINE
)


_KINDS = {"AGGREGATE": "function"}


class State(StrEnum):
    """How a schema stands to this version of openqueue."""

    MISSING = "missing"
    BEHIND = "behind"
    CURRENT = "current"
    AHEAD = "ahead"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Migration:
    """A numbered file. One that begins with ``-- transaction: none`` runs statement by statement."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return _checksum(self.text)

    @property
    def transactional(self) -> bool:
        return self.text.partition("\n")[0].strip() != _OUTSIDE


@dataclass(frozen=True, slots=True)
class Engine:
    """The files of the engine, as (name, text), and the version of openqueue that they come with."""

    files: tuple[tuple[str, str], ...]
    version: str

    @property
    def checksum(self) -> str:
        return _checksum("\n".join(f"{name}\n{text}" for name, text in self.files))

    @property
    def objects(self) -> frozenset[str]:
        """What the files make, as the database is asked for it: `function add_job`, `view runs`."""
        made = (match.groups() for _, text in self.files for match in _MADE.finditer(text))
        return frozenset(f"{_KINDS.get(kind, kind.lower())} {name}" for kind, name in made)


@dataclass(frozen=True, slots=True)
class Applied:
    """What the database says: by number, the name and checksum of each migration; the engine's row.

    `objects` are the functions, views and triggers that there are, `gone` the functions that were installed
    and are no longer there; `partitions` those of the history, and which of its indexes they have.
    """

    migrations: Mapping[int, tuple[str, str]]
    engine: tuple[str, str] | None = None  # checksum, version
    objects: frozenset[str] = frozenset()
    gone: tuple[str, ...] = ()
    has_schema: bool = True
    has_tables: bool = True
    has_partitions: bool = False
    partitions: Partitions = NO_PARTITIONS


@dataclass(frozen=True, slots=True)
class Ledger:
    """What this installation brings."""

    migrations: tuple[Migration, ...]
    engine: Engine


@dataclass(frozen=True, slots=True)
class Status:
    """How a schema stands: `applied` is its highest migration, `wanted` the highest that is known here.

    `pending` and `changed` are names of files; `engine` is false when the engine has to be replaced,
    and `missing` is what somebody dropped of it.
    """

    schema: str
    state: State
    applied: int
    wanted: int
    pending: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    engine: bool = True
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        return _SENTENCES[self.state].format(
            schema=self.schema,
            applied=self.applied,
            wanted=self.wanted,
            todo=", ".join([*self.pending, *([] if self.engine else [self._engine])]),
            changed=", ".join(self.changed),
        )

    @property
    def _engine(self) -> str:
        what = "the engine's functions and views"
        return f"{what} (somebody dropped {', '.join(self.missing)})" if self.missing else what

    @property
    def usable(self) -> bool:
        """Whether this version of openqueue can work on it: current, or newer (a deploy goes on)."""
        return self.state in (State.CURRENT, State.AHEAD)


_SENTENCES = {
    State.MISSING: "Schema {schema!r} does not exist yet. Run: openqueue migrate",
    State.BEHIND: "Schema {schema!r} is too old: {todo} still to come. Run: openqueue migrate",
    State.CURRENT: "Schema {schema!r} is up to date (migration {applied}).",
    State.AHEAD: "Schema {schema!r} (migration {applied}) is newer than this openqueue (it knows {wanted}): "
    "it can be worked on; its migrations and its engine are left as they are. Upgrade this openqueue, too.",
    State.CHANGED: "Schema {schema!r} was made by another build of openqueue: {changed} was applied "
    "to it with another text than this one brings. Nothing was changed. Install the openqueue that made it "
    "(what its other processes run), or give this one a schema of its own (--schema, OPENQUEUE_SCHEMA). "
    "Migrations that were released never change: if you edited one, put it back.",
}


def read_ledger(statements: Statements, version: str) -> Ledger:
    """Read the files. Raises SchemaError for a name that is not NNNN_name.sql, or a number used twice."""
    found: dict[int, Migration] = {}
    for path in statements.migration_files():
        migration = _read(path)
        if migration.number in found:
            other = found[migration.number].name
            raise SchemaError(f"Two migrations have number {migration.number}: {other} and {path.name}.")
        found[migration.number] = migration
    engine = tuple((path.name, read_sql(path)) for path in statements.engine_files())
    return Ledger(tuple(found[number] for number in sorted(found)), Engine(engine, version))


def judge(schema: str, ledger: Ledger, applied: Applied) -> Status:
    """Compare the two."""
    known = {migration.number: migration for migration in ledger.migrations}
    wanted = max(known, default=0)
    highest = max(applied.migrations, default=0)
    changed = tuple(
        known[number].name
        for number, (_, checksum) in sorted(applied.migrations.items())
        if number in known and known[number].checksum != checksum
    )
    pending = tuple(known[number].name for number in sorted(known) if number not in applied.migrations)
    newer = highest > wanted or _is_newer(applied.engine, ledger.engine)
    same = applied.engine is not None and applied.engine[0] == ledger.engine.checksum
    missing = _missing(ledger.engine, applied) if same and not newer else ()
    engine = (same and not missing) or newer or not ledger.engine.files
    state = _state(applied, changed=bool(changed), behind=bool(pending) or not engine, newer=newer)
    return Status(schema, state, highest, wanted, pending, changed, engine, missing)


def _missing(engine: Engine, applied: Applied) -> tuple[str, ...]:
    """What was dropped by hand: objects by name, or of several functions of a name one, by its signature."""
    names = engine.objects - applied.objects
    others = engine.objects & applied.objects
    return tuple(
        sorted(names | {f"function {one}" for one in applied.gone if f"function {_bare(one)}" in others})
    )


def _bare(signature: str) -> str:
    """The name in `openqueue.add_job(text, jsonb)`."""
    return signature.partition("(")[0].rpartition(".")[2].strip('"')


def refuse_changed(status: Status) -> None:
    """Raise SchemaError if a file that was applied has changed."""
    if status.state is State.CHANGED:
        raise SchemaError(str(status))


def refuse_foreign(schema: str, columns: list[str]) -> None:
    """Raise SchemaError if the table `migrations`, which has these columns, is somebody else's."""
    if columns and not {"number", "name", "checksum"} <= set(columns):
        raise SchemaError(
            f"Schema {schema!r} has a table 'migrations' that is not openqueue's. Choose another schema name."
        )


def own_version() -> str:
    """The version of this installation; "0" where it has none."""
    try:
        return version("openqueue")
    except PackageNotFoundError:
        return "0"


def _state(applied: Applied, *, changed: bool, behind: bool, newer: bool) -> State:
    if not applied.has_tables:
        return State.MISSING
    if changed:
        return State.CHANGED
    if behind:
        return State.BEHIND
    return State.AHEAD if newer else State.CURRENT


def _is_newer(installed: tuple[str, str] | None, ours: Engine) -> bool:
    return installed is not None and _order(installed[1]) > _order(ours.version)


def _order(version: str) -> tuple[tuple[int, ...], bool, str]:
    """1.2 < 1.10rc1 < 1.10rc2 < 1.10; anything that is not a version is older than all."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    if found is None:
        return (), False, ""
    numbers = tuple(map(int, found.group().split(".")))
    rest = version[found.end() :].partition("+")[0]
    return numbers, not rest or rest.startswith(".post"), rest


def _read(path: Path) -> Migration:
    match = _FILE.fullmatch(path.name)
    if match is None:
        raise SchemaError(
            f"{path} is not named as a migration: NNNN_what_it_does.sql, such as 0002_tags.sql."
        )
    return Migration(int(match[1]), path.name, read_sql(path))


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
