"""What a filter of runs refuses when it is made, by the field's name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from openqueue.errors import InvalidOption
from openqueue.runs.filter import RunFilter

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


@pytest.mark.parametrize(
    ("said", "option"),
    [
        ({"since": LATER, "until": NOON}, "until"),
        ({"started_since": NOON, "started_until": NOON}, "started_until"),
        ({"finished_since": LATER, "finished_until": NOON}, "finished_until"),
        ({"finished_since": NOON, "sort": "created", "oldest_first": True}, "oldest_first"),
        ({"started_until": NOON, "oldest_first": True}, "oldest_first"),
    ],
)
def test_times_between_which_nothing_can_be_found_quickly_are_refused(
    said: dict[str, Any], option: str
) -> None:
    with pytest.raises(InvalidOption) as refused:
        RunFilter(**said)
    assert refused.value.option == option


def test_a_time_of_the_end_is_walked_from_where_its_runs_are() -> None:
    for said in (
        {"finished_since": NOON, "oldest_first": True},
        {"finished_until": LATER, "sort": "created"},
    ):
        RunFilter(**said)  # type: ignore[arg-type]
    RunFilter(since=NOON, finished_since=NOON, finished_until=LATER, sort="created", oldest_first=True)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"status": "failed"}, "status: 'failed' must be a tuple: ('failed',)."),
        ({"tags": "vip"}, "tags: 'vip' must be a tuple: ('vip',)."),
        ({"meta": "tenant=42"}, "meta: 'tenant=42' must be a dict."),
        ({"since": "1h"}, "since: '1h' must be a datetime, with its time zone."),
        ({"before": "first"}, "before: 'first' must be a UUID."),
    ],
)
def test_a_value_of_another_kind_is_refused(said: dict[str, Any], wanted: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        RunFilter(**said)
    assert str(refused.value) == wanted
    assert refused.value.option in said
