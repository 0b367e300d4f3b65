"""The page of `openqueue top`: everything has its place, at any size."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.cells import cell_len

from openqueue.cli import top_screen
from openqueue.cli.top_page import KEYS, View, page
from openqueue.cli.top_rates import Rates, sparkline
from openqueue.cli.top_screen import Screen, keys_of
from openqueue.cli.top_snapshot import Snapshot
from openqueue.settings import load_settings

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def queue(name: str, **more: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("ready", "running", "blocked", "retrying", "scheduled"), 0)
    ended = {"per_minute": 7.25, "failed": 1, "retried": 2, "waited_p95": 0.0123}
    return {"queue": name, **counts, **ended, "jobs": 0, "oldest": None, "paused": None, "workers": 1, **more}


def worker(name: str, **more: Any) -> dict[str, Any]:
    row = {"name": name, "state": "running", "running": 2, "concurrency": 100, "queues": None}
    return {**row, "beat_age": 3.0, "alive": True, **more}


def failure(n: int) -> dict[str, Any]:
    return {
        "finished_at": AT,
        "task": f"task.{n}",
        "queue": "q",
        "type": "ValueError",
        "message": "no\x1b[2J",
    }


def snapshot(**more: Any) -> Snapshot:
    found: dict[str, Any] = {
        "at": AT,
        "place": "database",
        "namespace": "default",
        "queues": [queue("mail", ready=1234, oldest=4000.0), queue("reports", ready=2, workers=0)],
        "workers": [worker("w-1"), worker("w-2", alive=False, beat_age=40.0)],
        "failures": [failure(n) for n in range(20)],
        "failed": 3,
        "totals": {"added": 0, "ended": 0},
        "leader": "w-1",
        "paused": False,
        "capped": False,
    }
    return Snapshot(**{**found, **more})


def shown(now: Snapshot | None, view: View | None = None, width: int = 80, height: int = 24) -> list[str]:
    return [line.plain for line in page(now, view or View(), width, height)]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 300])
@pytest.mark.parametrize("height", [1, 6, 10, 24, 60])
def test_it_fits_every_terminal(width: int, height: int) -> None:
    many = snapshot(
        queues=[queue(f"queue {n} ü漢字" * 3, ready=n) for n in range(99)],
        workers=[worker(f"w-{n}" * 9) for n in range(30)],
    )
    for now in (many, snapshot(), snapshot(queues=[], workers=[], failures=[]), None):
        view = View(chosen="queue 98 ü漢字" * 3, fault="x" * 400, said="y" * 400)
        lines = shown(now, view, width, height)
        assert len(lines) <= height
        assert max(map(cell_len, lines)) <= width
        assert "\x1b" not in "".join(lines)


def test_a_page_of_80_by_24_has_queues_workers_rates_failures_and_keys() -> None:
    lines = shown(snapshot())
    assert len(lines) == 24
    assert lines[0].startswith("openqueue top  default  ")
    assert lines[1] == "1 worker, 2/100 running   1,236 ready  0 blocked  0 retrying"
    assert lines[2].endswith("3 failed in the last minute")
    mail, reports = (next(line for line in lines if line.startswith(name)) for name in ("mail", "reports"))
    assert mail.split() == ["mail", "1,234", "1h7m", "0", "0", "0"]
    assert reports.endswith("no worker")
    assert next(line for line in lines if line.startswith("w-2")).split()[1] == "silent"
    assert "LAST FAILURES" in lines
    assert r"ValueError: no\x1b[2J" in "\n".join(lines)
    assert lines[-1] == KEYS


def test_what_stands_still_or_is_wrong_is_told_at_the_top() -> None:
    lines = shown(snapshot(paused=True, leader=None), View(frozen=True, fault="The database does not answer"))
    assert "EVERYTHING IS PAUSED" in lines[0]
    assert "frozen" in lines[0]
    assert "no leader" in lines[0]
    assert lines[1] == "The database does not answer"
    long = View(fault="The server cancelled the statement. " * 3 + "Look for locks.")
    for now in (None, snapshot()):
        assert "Look for locks." in "\n".join(shown(now, long))
    assert "paused: the year" in "\n".join(shown(snapshot(queues=[queue("mail", paused="the year ends")])))


@pytest.mark.parametrize("width", [40, 80, 140])
def test_that_only_some_queues_are_shown_is_seen_in_every_width(width: int) -> None:
    assert "queues with mail" in shown(snapshot(), View(filter="mail"), width)[-1]


def test_where_nothing_is_there_it_says_what_to_do() -> None:
    text = "\n".join(shown(snapshot(queues=[], workers=[], failures=[])))
    assert "nothing waits, nothing runs" in text
    assert "no worker: openqueue worker" in text
    assert "nothing has failed" in text


def test_the_chosen_queue_is_always_among_those_shown() -> None:
    now = snapshot(queues=[queue(f"q{n:02}") for n in range(50)])
    for chosen in ("q00", "q25", "q49"):
        assert any(line.startswith(chosen) for line in shown(now, View(chosen=chosen)))


def test_rates_are_of_two_readings_and_a_count_that_went_back_begins_anew() -> None:
    rates = Rates()
    rates.read(10.0, {"added": 100, "ended": 50})
    assert not rates.added
    rates.read(12.0, {"added": 300, "ended": 60})
    rates.read(13.0, {"added": 0, "ended": 70})
    assert [*rates.added] == [100.0, 0.0]
    assert [*rates.ended] == [5.0, 10.0]


def test_a_sparkline_is_as_wide_as_there_is_room() -> None:
    assert sparkline(deque([0.0, 4.0, 8.0]), 5) == "  ▁▅█"
    assert sparkline(deque([1.0] * 50), 5) == "█" * 5
    assert sparkline(deque([1.0]), 0) == ""
    assert sparkline(deque([0.0, 0.0]), 3) == " ▁▁"


def test_arrows_are_one_key_each_and_escape_is_itself() -> None:
    assert keys_of("\x1b[A\x1b[Bjp\x1bq") == ["up", "down", "j", "p", "\x1b", "q"]


def test_keys_that_mean_nothing_are_none_and_take_no_filter_away() -> None:
    left, delete, f1, shift_up = "\x1b[D", "\x1b[3~", "\x1bOP", "\x1b[1;2A"
    assert keys_of(f"a{left}{delete}{f1}{shift_up}b") == ["a", "b"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_question_is_told_whole_with_the_keys_that_answer_it(width: int) -> None:
    question = f"Retry the newest failed runs of {'a-long-name' * 3}, up to 100? y, or any other key."
    lines = shown(snapshot(), View(said=question), width)
    assert len(lines) == 24
    assert "y, or any other key." in " ".join(lines[-3:])


def test_that_the_database_does_not_answer_is_told() -> None:
    assert shown(snapshot(), View(silent=4.2))[1] == "The database has not answered for 4 s."


def test_a_queue_without_a_worker_says_so_in_a_narrow_terminal_too() -> None:
    (line,) = [one for one in shown(snapshot(), width=60) if one.startswith("reports")]
    assert line.endswith("no worker")


def test_what_ended_in_a_queue_is_beside_what_waits() -> None:
    text = "\n".join(shown(snapshot(), width=120))
    assert "DONE/MIN  FAILED/5M  WAIT P95" in text
    assert re.search(r"mail .* 7\.2 +1 +12ms", text)


async def test_a_look_that_began_before_another_one_does_not_replace_what_that_has_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = asyncio.Event()
    before, after = snapshot(), snapshot(queues=[queue("mail", paused="by hand")])

    async def read(*_: object) -> Snapshot:
        if looking.done():
            return after
        await held.wait()
        return before

    monkeypatch.setattr(top_screen, "read_snapshot", read)
    nothing: Any = None
    screen = Screen(nothing, load_settings(), "", nothing)
    looking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    slow = asyncio.create_task(screen._look())
    await asyncio.sleep(0)
    looking.set_result(None)
    await screen._look()
    held.set()
    await slow
    assert screen.now is after
