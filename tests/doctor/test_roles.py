"""The doctor as each of the roles: as a worker all is there, as one who only enqueues that is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from openqueue.doctor.findings import Severity
from tests.doctor.patient import found, look, seen
from tests.support.databases import Databases
from tests.support.realm import Realm, made_realm


@pytest.fixture(scope="module")
def realm(databases: Databases) -> Iterator[Realm]:
    with made_realm(databases) as made:
        yield made


async def test_a_worker_and_the_owner_lack_nothing(realm: Realm) -> None:
    for url in (realm.worker, realm.owner):
        assert await seen(url, "rights", schema=realm.schema) == "all that a worker needs"


async def test_who_may_only_enqueue_is_told_that_no_worker_could_work_so(realm: Realm) -> None:
    finding = await found(realm.enqueue, "rights", schema=realm.schema)
    assert finding.severity is Severity.WARNING
    assert "For a program that only enqueues" in finding.why


@pytest.mark.parametrize("role", ["enqueue", "worker", "admin"])
async def test_whoever_asks_gets_answers_and_never_a_traceback(realm: Realm, role: str) -> None:
    examined = await look(getattr(realm, role), schema=realm.schema)
    failed = {one.check for one in examined.reports if one.said == "could not look"}
    if role == "worker":
        assert failed == set()
    assert {"connection", "clock", "listen", "server"}.isdisjoint(failed)
