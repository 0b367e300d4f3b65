"""`openqueue schedule`: on a real database, in the words of the command line."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.command import Answer, Command
from tests.support.terminal import in_terminal

ADD = ("schedule", "add", "nightly", "post.send", '{"to": "a@b.c"}', "--cron", "0 2 * * *")


@pytest.fixture
def added(oq: Command) -> Command:
    answer = oq(*ADD, "--timezone", "Europe/Berlin", "--allow-unknown")
    assert answer.code == 0, answer.err
    return oq


def refused(answer: Answer, said: str, code: int = 2) -> None:
    assert answer.code == code, answer
    assert said in answer.err
    assert answer.out == ""


def test_adding_one_says_what_it_means_and_when_it_runs(oq: Command) -> None:
    line = (
        "--timezone Europe/Berlin --catch-up 1 --overlap skip --jitter 30s --max-runs 9 --queue slow"
        " --priority -3 --max-attempts 2 --deadline 1h --meta tenant=42 --tag vip --allow-unknown"
        " --start 2026-01-01T00:00Z --end 2150-01-01T00:00Z"
    )
    answer = oq(*ADD, *line.split())
    assert answer.code == 0, answer.err
    first, words, coming, here = answer.out.splitlines()
    assert first == "nightly: added"
    assert words == "  at 02:00 every day, Europe/Berlin time"
    assert " 02:00:00 CE" in coming
    assert " here, in " in here
    found = oq("schedule", "show", "nightly", "--json").json
    assert (found["task"], found["input"], found["meaning"]) == (
        "post.send",
        {"to": "a@b.c"},
        "at 02:00 every day",
    )
    assert (found["catch_up"], found["overlap"], found["jitter"], found["max_runs"]) == (1, "skip", 30.0, 9)
    assert (found["queue"], found["priority"], found["max_attempts"]) == ("slow", -3, 2)
    assert (found["deadline"], found["meta"], found["tags"]) == (3600.0, {"tenant": 42}, ["vip"])
    assert found["start_at"] == "2026-01-01T00:00:00+00:00"
    assert len(found["coming"]) == 5
    assert oq(*ADD, "--timezone", "Europe/Berlin", "--allow-unknown", "--json").json["outcome"] == "updated"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--cron", "0 0 31 2 *"], "--cron: '0 0 31 2 *' never fires"),
        (["--cron", "@daily", "--every", "5m"], "--every: given together with cron"),
        ([], "--cron: missing"),
        (
            ["--cron", "@daily", "--timezone", "Europe/Berln"],
            "--timezone: there is no time zone 'Europe/Berln'",
        ),
        (["--cron", "@daily", "--timezone", "Berlin"], "Did you mean 'Europe/Berlin'"),
        (["--cron", "@daily", "--overlap", "never"], "--overlap: 'never' must be"),
        (["--cron", "@daily", "--catch-up", "x"], "--catch-up: 'x' is not a whole number"),
        (["--cron", "@daily", "--start", "tomorrow"], "--start: 'tomorrow' is not a time"),
        (["--every", "soon"], "--every: 'soon' is not a duration"),
    ],
)
def test_mistakes_are_refused_with_the_flag_before_anything_is_stored(
    oq: Command, flags: list[str], said: str
) -> None:
    refused(oq("schedule", "add", "k", "post.send", '{"to": "x"}', "--allow-unknown", *flags), said)
    assert oq("schedule", "list", "--json").json == []


def test_a_task_that_is_unknown_and_arguments_that_it_refuses_are_refused(oq: Command) -> None:
    oq.work()  # so that the tasks are known
    answer = oq("schedule", "add", "k", "post.sendd", "--cron", "@daily")
    refused(answer, "Did you mean 'post.send'")
    assert "--allow-unknown" in answer.err
    refused(oq("schedule", "add", "k", "post.send", "--cron", "@daily"), "post.send: `to` is missing")
    assert oq("schedule", "add", "k", "post.send", '{"to": "x"}', "--cron", "@daily").code == 0
    refused(oq("schedule", "update", "k", "--input", "{}"), "post.send: `to` is missing")


def test_an_unknown_key_is_refused_with_the_nearest(added: Command) -> None:
    for words in (
        ["show"],
        ["pause"],
        ["resume"],
        ["trigger"],
        ["remove"],
        ["next"],
        ["update", "--every", "5m"],
    ):
        answer = added("schedule", words[0], "nihgtly", *words[1:])
        refused(answer, "There is no schedule 'nihgtly'", code=1)
        assert "Did you mean 'nightly'" in answer.err


def test_updating_changes_what_is_given(added: Command) -> None:
    answer = added("schedule", "update", "nightly", "--every", "15m", "--jitter", "1m", "--max-runs", "3")
    assert answer.out.splitlines()[:2] == ["nightly: updated", "  every 15 minutes"]
    answer = added("schedule", "update", "nightly", "--max-runs", "none", "--json")
    assert (answer.json["max_runs"], answer.json["jitter"], answer.json["cron"]) == (None, 60.0, None)
    refused(added("schedule", "update", "nightly"), "Nothing is to be changed")
    refused(added("schedule", "update", "nightly", "--cron", "0 0 31 2 *"), "--cron: ")


def test_pausing_until_a_day_and_resuming(added: Command) -> None:
    answer = added("schedule", "pause", "nightly", "--until", "tomorrow", "--reason", "holidays")
    assert answer.out.startswith("nightly: paused\n")
    assert "paused until " in answer.out
    assert "holidays" in answer.out
    until = datetime.fromisoformat(added("schedule", "show", "nightly", "--json").json["paused_until"])
    assert until.astimezone().strftime("%H:%M:%S") == "00:00:00"
    assert timedelta(0) < until - datetime.now(UTC) <= timedelta(hours=25)
    refused(added("schedule", "pause", "nightly", "--until", "2020-01-01"), "--until is 2020")
    refused(added("schedule", "pause", "nightly", "--until", "whenever"), "'tomorrow'")
    assert added("schedule", "pause", "nightly").out.startswith("nightly: paused\n")
    assert added("schedule", "list", "--json").json[0]["next_at"] is None
    assert added("schedule", "resume", "nightly").out.startswith("nightly: active\n")


def test_the_next_times_of_one_that_is_and_of_one_that_is_not(added: Command) -> None:
    answer = added("schedule", "next", "nightly", "-n", "3")
    assert len(answer.out.splitlines()) == 3
    assert all(" 02:00:00 CE" in line for line in answer.out.splitlines())
    answer = added("schedule", "next", "--cron", "30 2 * * *", "--timezone", "America/New_York", "--json")
    assert len(answer.json) == 5
    refused(added("schedule", "next", "--cron", "61 * * * *"), "--cron: ")
    refused(added("schedule", "next"), "which schedule?")


def test_firing_by_hand_prints_the_run_which_says_where_it_comes_from(added: Command) -> None:
    run = added("schedule", "trigger", "nightly").out.strip()
    assert [one["id"] for one in added("runs", "list", "--schedule", "nightly", "--json").json] == [run]
    assert added("runs", "list", "--schedule", "other", "--json").json == []
    page = added("runs", "show", run).out
    assert "nightly, fired by hand at " in page
    assert "openqueue.tick" not in page
    added("schedule", "update", "nightly", "--overlap", "skip")
    answer = added("schedule", "trigger", "nightly", "--json")
    assert (answer.code, answer.json) == (1, {"outcome": "overlap", "id": None})


def test_a_backfill_is_of_whole_days_of_the_schedules_zone_and_each_run_is_made_once(added: Command) -> None:
    """T7."""
    line = ("schedule", "backfill", "nightly", "--from", "2026-03-28", "--to", "2026-03-30")
    assert added(*line).out == "nightly: 3 enqueued, 0 had a run already, of 3 times\n"
    assert added(*line, "--json").json == {"total": 3, "added": 0, "known": 3}
    runs = added("runs", "list", "--schedule", "nightly", "--json").json
    assert sorted(run["meta"]["openqueue.tick"]["at"] for run in runs) == [
        "2026-03-28T01:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-30T00:00:00Z",
    ], "02:00 in Berlin, also on the day that has no such time"
    assert "backfilled" in added("runs", "show", runs[0]["id"]).out
    refused(added(*line[:-1], "2150-01-01"), "--to: ")
    refused(added(*line[:-1], "2026-01-01"), "is before start")
    refused(added(*line, "--limit", "2"), "--limit: there are 3 times")
    refused(added(*line, "--rate", "0"), "--rate: ")
    refused(added(*line[:3], "--from", "then", "--to", "now"), "--from: 'then' is not a time")


def test_removing_one_leaves_its_runs(added: Command) -> None:
    added("schedule", "trigger", "nightly")
    assert added("schedule", "remove", "nightly").out == "nightly: removed\n"
    assert added("schedule", "list").err.startswith("There is no schedule.")
    assert len(added("runs", "list", "--schedule", "nightly", "--json").json) == 1


@pytest.mark.parametrize("words", [["list"], ["show", "nightly"], ["next", "nightly"], ["add", "--help"]])
@pytest.mark.parametrize("columns", [80, 40])
def test_it_fits_a_terminal(added: Command, words: list[str], columns: int) -> None:
    added("schedule", "trigger", "nightly")
    home = str(Path(__file__).resolve().parents[2])
    plain = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    env = {**plain, "PYTHONPATH": home, "TERM": "xterm", "OPENQUEUE_DATABASE_URL": added.url or ""}
    line = [sys.executable, "-m", "openqueue", "schedule", *words]
    shell = ["/bin/sh", "-c", '"$@"; echo the-end', "sh", *line]
    with in_terminal(shell, cwd=added.project, env=env, columns=columns) as terminal:
        text = terminal.read_until(r"(?s)(.*)the-end").group(1)
    assert "nightly" in text or "Examples" in text or "02:00" in text
    if words[0] != "add":
        assert [line for line in text.splitlines() if len(line) > columns] == []
