"""What is on disk against what was applied: decided from values alone."""

import hashlib

import pytest

from openqueue.db.ledger import Applied, Engine, Ledger, Migration, State, judge

ONE, TWO = Migration(1, "0001_a.sql", "A"), Migration(2, "0002_b.sql", "B")
ENGINE = Engine((("e.sql", "E"),), "1.5")


def applied(*migrations: Migration, engine: tuple[str, str] | None = (ENGINE.checksum, "1.5")) -> Applied:
    return Applied({one.number: (one.name, one.checksum) for one in migrations}, engine)


@pytest.mark.parametrize(
    ("database", "state"),
    [
        (Applied({}, has_schema=False, has_tables=False), State.MISSING),
        (applied(), State.BEHIND),
        (applied(ONE), State.BEHIND),
        (applied(TWO), State.BEHIND),
        (applied(ONE, TWO), State.CURRENT),
        (applied(ONE, TWO, engine=None), State.BEHIND),
        (applied(ONE, TWO, engine=("other", "1.4.9")), State.BEHIND),
        (applied(ONE, TWO, engine=("other", "1.5")), State.BEHIND),
        (applied(ONE, TWO, engine=("other", "1.5rc1")), State.BEHIND),
        (applied(ONE, TWO, engine=("other", "1.10")), State.AHEAD),
        (applied(ONE, TWO, engine=("other", "1.5.post1")), State.AHEAD),
        (applied(ONE, TWO, Migration(3, "0003_c.sql", "C"), engine=("other", "1.5")), State.AHEAD),
        (applied(ONE, Migration(3, "0003_c.sql", "C"), engine=("other", "1.5")), State.BEHIND),
        (applied(Migration(1, "0001_a.sql", "changed"), TWO), State.CHANGED),
    ],
)
def test_every_state_is_told_from_the_values(database: Applied, state: State) -> None:
    status = judge("q", Ledger((ONE, TWO), ENGINE), database)
    assert status.state is state
    assert status.usable is (state in {State.CURRENT, State.AHEAD})
    assert "'q'" in str(status)


def test_an_engine_is_not_to_be_replaced_by_one_that_lacks_the_newest_migration() -> None:
    newer = applied(ONE, Migration(3, "0003_c.sql", "C"), engine=("other", "1.5"))
    status = judge("q", Ledger((ONE, TWO), ENGINE), newer)
    assert (status.pending, status.engine) == (("0002_b.sql",), True)


def test_a_checksum_is_sha256_of_the_text() -> None:
    assert ONE.checksum == hashlib.sha256(b"A").hexdigest()


@pytest.mark.parametrize(
    ("text", "inside"), [("-- transaction: none\nX", False), ("-- transaction: none ", False), ("X", True)]
)
def test_the_first_line_says_whether_a_file_runs_in_a_transaction(text: str, inside: bool) -> None:
    assert Migration(1, "x", text).transactional is inside
