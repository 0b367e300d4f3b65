"""A run's timeline and its log, as they are printed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from openqueue.cli import run_logs
from openqueue.cli.timeline import said
from openqueue.runs.model import RunEvent

TRACE = (
    'Traceback (most recent call last):\n  File "a.py", line 1, in b\n    c()\nValueError: no\x1b[2J luck\n'
)


def logged(message: str, **fields: Any) -> RunEvent:
    data = {"level": "error", "message": message, "fields": fields}
    return RunEvent(datetime(2026, 11, 21, tzinfo=UTC), "log", 1, None, data)


def test_of_a_traceback_the_timeline_shows_what_it_ends_with() -> None:
    assert said(logged("not sent", exception=TRACE, port=25)) == (
        'error: not sent  exception="ValueError: no\\u001b[2J luck" port=25'
    )


class Fake:
    """A client whose run has logged what is in `looks`, one look after the other, and ends with the last."""

    def __init__(self, looks: list[list[RunEvent]]) -> None:
        self.looks = looks

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def get(self, _: object) -> Any:
        return type("Run", (), {"finished": len(self.looks) == 1})

    async def events(self, _: object) -> list[RunEvent]:
        return self.looks.pop(0)


def test_the_log_shows_it_all_and_says_anew_how_many_lines_were_dropped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = logged("not sent", exception=TRACE)
    looks = [[first, logged("full", dropped=1)]] * 2 + [[first, logged("full", dropped=7)]]
    monkeypatch.setattr(run_logs, "client", lambda _: Fake(looks))
    monkeypatch.setattr(run_logs, "LOOK_EVERY", 0)
    settings: Any = None
    asyncio.run(run_logs.print_logs(settings, uuid4(), follow=True, as_json=False))
    lines = [line[21:] if line[:2] == "20" else line for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[4] == "    ValueError: no\\x1b[2J luck"
    assert [line for line in lines if "full" in line] == [
        "error: full  dropped=1",
        "error: full  dropped=7",
    ]
