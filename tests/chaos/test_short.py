"""The chaos of the gate: a few attacks on a site of their own, and what the checker says (docs/chaos.md)."""

from __future__ import annotations

import pytest

from tests.chaos.attack import play
from tests.chaos.attacks import ATTACKS, Short
from tests.chaos.worker import ROOT
from tests.support.servers import chosen_binaries


@pytest.mark.database
async def test_nothing_is_lost_when_workers_the_server_and_its_sessions_are_killed_under_load() -> None:
    made = await play(Short(), binaries=chosen_binaries(), seed=7)
    assert [*made.faults, *map(str, made.violations)] == []
    assert made.lost == 0
    assert made.accepted > 60


def test_the_page_has_a_row_for_every_attack() -> None:
    page = (ROOT / "docs" / "chaos.md").read_text()
    assert [one.name for one in ATTACKS if f"| {one.name} |" not in page] == []


@pytest.mark.chaos
@pytest.mark.parametrize("attack", [pytest.param(one, id=one.name) for one in ATTACKS])
async def test_nothing_is_lost_by_any_single_attack(attack: type) -> None:
    one = attack()
    if why := one.missing():
        pytest.skip(why)
    made = await play(one, binaries=chosen_binaries(), seed=7)
    assert [*made.faults, *map(str, made.violations)] == []
