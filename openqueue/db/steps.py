"""What `migrate` has to run, as rendered SQL: the same text whether it is run or printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from openqueue.db.ledger import Applied, Engine, Ledger, Migration, Status
from openqueue.db.partitioned import for_partitions
from openqueue.db.statements import Statements, inline, render, split

__all__ = ["Part", "Step", "lock_timeout_of", "partitions", "rights", "roles", "script", "steps"]

_CONCURRENTLY: Final = re.compile(r"(CREATE (UNIQUE )?INDEX|DROP INDEX) CONCURRENTLY\b")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of SQL that goes to the server in one message; `name` is its file, if it has one.

    `partition`: it is not in the file, but follows from it for a partition that there is.
    """

    text: str
    name: str = ""
    partition: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done whole or, in a transaction, not at all."""

    name: str
    parts: tuple[Part, ...]
    transactional: bool = True
    second: tuple[Part, ...] = ()  # to run instead when a function cannot be replaced as it stands


def steps(own: Statements, ledger: Ledger, applied: Applied, status: Status) -> Iterator[Step]:
    """All that is still to be done, in order. `own` are the migrator's statements."""
    if not applied.has_tables:
        yield _bootstrap(own, applied)
    for migration in ledger.migrations:
        if migration.number not in applied.migrations:
            yield _migration(own, migration, applied)
    if not status.engine:
        yield _engine(own, ledger.engine)


def partitions(own: Statements) -> Step:
    """Make the partitions that will be needed soon."""
    return Step("partitions", (Part(own["migrator_partitions"]),))


def roles(own: Statements) -> Step:
    """Make the roles that there are not."""
    return Step("roles", (Part(own["migrator_roles"]),))


def rights(own: Statements) -> Step:
    """Give the roles that there are their rights, and take those that they no longer have."""
    return Step("rights", (Part(own["migrator_rights"]),))


def script(own: Statements, todo: Iterable[Step], lock_timeout: str) -> str:
    """The steps as a script for psql."""
    return "\n\n".join(_printed(own, step, lock_timeout) for step in todo)


def _bootstrap(own: Statements, applied: Applied) -> Step:
    names = ["migrator_create_migrations", "migrator_create_engine"]
    if not applied.has_schema:
        names.insert(0, "migrator_create_schema")
    return Step(f"schema {own.schema}", tuple(Part(own[name]) for name in names))


def _migration(own: Statements, migration: Migration, applied: Applied) -> Step:
    record = Part(inline(own["migrator_record"], migration.number, migration.name, migration.checksum))
    if migration.transactional:
        parts = [Part(render(migration.text, own.schema), migration.name)]
    else:
        parts = [part for piece in split(migration.text) for part in _outside(own, migration, piece, applied)]
    return Step(migration.name, (*parts, record), migration.transactional)


def _outside(own: Statements, migration: Migration, piece: str, applied: Applied) -> Iterator[Part]:
    yield Part(render(piece, own.schema), migration.name)
    for text in for_partitions(own, piece, applied.partitions):
        yield Part(text, migration.name, partition=True)


def _engine(own: Statements, engine: Engine) -> Step:
    remember, clear = Part(own["migrator_remember"]), Part(own["migrator_clear"])
    finish = Part(own["migrator_finish"], "engine")
    files = [Part(render(text, own.schema), f"engine/{name}") for name, text in engine.files]
    install = Part(inline(own["migrator_install"], engine.checksum, engine.version))
    end = (*files, finish, install, Part(own["migrator_rights"], "engine"))
    return Step("engine", (remember, *end), second=(remember, clear, *end))


def lock_timeout_of(part: Part, usual: str) -> str:
    """How long a part outside a transaction waits for locks: as long as it must if it is in nobody's way."""
    return "0" if _CONCURRENTLY.search(part.text) else usual


def _printed(own: Statements, step: Step, lock_timeout: str) -> str:
    texts = [part.text for part in step.parts]
    if step.transactional:
        settings = inline(own["migrator_settings"], lock_timeout)
        texts = [own["migrator_begin"], settings, *texts, own["migrator_commit"]]
    else:
        waits = [lock_timeout_of(part, lock_timeout) for part in step.parts]
        before = [inline(own["migrator_set_timeouts"], wait, "0") for wait in waits]
        texts = [text for pair in zip(before, texts, strict=True) for text in pair]
    return f"-- {step.name}\n" + "\n".join(map(_ended, texts))


def _ended(text: str) -> str:
    text = text.rstrip()
    last = text.rpartition("\n")[2]
    if text.endswith(";") and "--" not in last:
        return text
    return f"{text}\n;" if "--" in last else f"{text};"
