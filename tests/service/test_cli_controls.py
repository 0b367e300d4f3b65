"""`openqueue queues` and `tasks`: what holds is shown, with who said it, and said by flags."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import openqueue
from tests.support.command import Command
from tests.support.terminal import in_terminal


def test_a_queue_is_limited_shown_and_let_go(oq: Command) -> None:
    oq.work()
    said = oq("queues", "limit", "mail", "--concurrency", "5", "--rate", "100/1m", "--burst", "20")
    assert said.code == 0
    assert said.err == ""
    assert said.out == "mail: concurrency 5 at once, 0 running; rate 100/m burst 20\n"
    (row,) = [one for one in oq("queues", "--json").json if one["queue"] == "mail"]
    assert (row["concurrency"], row["used"], row["burst"], row["paused"]) == (5, 0, 20, False)
    assert row["rate"] == {"count": 100, "period": 60.0}
    assert "0/5  100/m burst 20" in oq("queues").out
    assert oq("queues", "limit", "mail", "--concurrency", "none", "--rate", "none").code == 0
    assert [one["queue"] for one in oq("queues", "list", "--json").json] == []


def test_turns_and_weights_are_said_together_and_shown_with_their_groups(oq: Command) -> None:
    flags = ("--fairness", "weighted", "--ageing", "5m", "--weight", "gold=3", "--weight", "a=b=0.5")
    assert oq("queues", "limit", "mail", *flags).code == 0
    shown = oq("queues", "show", "mail", "--json").json
    assert (shown["fairness"], shown["ageing"]) == ("weighted", 300.0)
    groups = {one["name"]: one["weight"] for one in shown["controls"] if one["kind"] == "group"}
    assert groups == {"gold": 3.0, "a=b": 0.5}
    assert oq("queues", "limit", "mail", "--weight", "gold=none").code == 0
    assert "gold" not in oq("queues", "show", "mail").out


def test_a_page_tells_who_said_each_value_and_who_did_not_win(oq: Command) -> None:
    (oq.project / "openqueue.toml").write_text(
        '[controls.mail]\nconcurrency = 9\nrate = "5/s"\nfairness = "round_robin"\n'
    )
    oq.work()
    assert oq("queues", "limit", "mail", "--concurrency", "3").code == 0
    assert oq("queues", "pause", "mail", "--reason", "the provider is down").code == 0
    lines = [" ".join(line.split()) for line in oq("queues", "show", "mail").out.splitlines()]
    assert "concurrency 3 at once, 0 running run time settings: 9" in lines
    assert "rate 5/s settings -" in lines
    assert "fairness round_robin settings -" in lines
    assert "paused until resumed (the provider is down) run time -" in lines
    told = oq("config", "--json").json
    (setting,) = [one for one in told if one["key"] == "controls"]
    assert setting["value"] == {"mail": {"concurrency": 9, "rate": "5/s", "fairness": "round_robin"}}
    assert setting["place"] == "openqueue.toml, line 1"


def test_pauses_of_a_queue_a_group_and_everything_are_each_ended_by_their_own(oq: Command) -> None:
    assert oq("queues", "pause", "mail", "--until", "30m").code == 0
    assert oq("queues", "pause", "mail", "--group", "customer 42").code == 0
    assert oq("queues", "pause", "--all", "--until", "2999-01-01T00:00Z").code == 0
    assert oq("queues", "resume", "--all").out == "everything: nothing holds it up\n"
    paused = {one["kind"] for one in oq("queues", "show", "mail", "--json").json["controls"]}
    assert paused == {"queue", "group"}
    said = oq("queues", "resume", "mail", "--group", "customer 42")
    assert said.out == "mail, group customer 42: nothing holds it up\n"
    assert oq("queues", "resume", "mail", "--json").json == []


def test_a_task_is_limited_paused_and_shown(oq: Command) -> None:
    oq.work()
    assert oq("enqueue", "post.fail", '{"why": "x"}').code == 0
    assert oq("tasks", "limit", "post.fail", "--rate", "1/h").out == "post.fail: rate 1/h\n"
    (held,) = oq("tasks", "pause", "post.fail", "--json").json
    assert (held["paused"], held["paused_until"]) == (True, None)
    shown = oq("tasks", "show", "post.fail", "--json").json
    assert (shown["queued"], shown["controls"]) == (1, [held])
    assert oq("tasks", "resume", "post.fail").out == "post.fail: rate 1/h\n"
    assert "rate" in oq("tasks", "show", "post.fail").out
    assert [one["task"] for one in oq("tasks", "post.f", "--json").json] == ["post.fail"]
    assert [one["task"] for one in oq("tasks", "list", "post.f", "--json").json] == ["post.fail"]


def test_a_name_of_which_nothing_is_known_is_remarked(oq: Command) -> None:
    oq.work()
    said = oq("queues", "pause", "mial")
    assert said.code == 0
    assert said.err.startswith("Remark: nothing is known of a queue 'mial'")
    assert "'mail'" in said.err
    assert "'post.send'" in oq("tasks", "pause", "post.sned").err


def test_a_name_that_is_shown_but_known_to_nobody_is_told(oq: Command) -> None:
    oq.work()
    for page, name, meant in (("queues", "mial", "'mail'"), ("tasks", "post.sned", "'post.send'")):
        shown = oq(page, "show", name)
        assert (shown.code, "0 queued" in shown.out) == (0, True)
        assert f"{name!r}" in shown.err
        assert f"Did you mean {meant}" in shown.err
        assert oq(page, "show", meant.strip("'")).err == ""


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("queues limit mail", "--concurrency"),
        ("queues limit mail --concurrency x", "--concurrency"),
        ("queues limit mail --concurrency -1", "--concurrency"),
        ("queues limit mail --rate often", "--rate"),
        ("queues limit mail --burst 5", "--burst"),
        ("queues limit mail --fairness fair", "--fairness"),
        ("queues limit mail --ageing soon", "--ageing"),
        ("queues limit mail --weight gold", "--weight"),
        ("queues limit mail --weight gold=0", "--weight"),
        ("queues pause", "NAME"),
        ("queues pause mail --all", "NAME"),
        ("queues pause --all --group a", "--group"),
        ("queues pause mail --until soon", "--until"),
        ("queues pause mail --until 2020-01-01T00:00Z", "--until"),
        ("queues pause mail --until 2999-01-01", "--until"),
        ("tasks limit post.send", "--concurrency"),
        ("tasks limit post.send --rate 5", "--rate"),
        ("keys limit k", "--concurrency"),
        ("keys limit k --burst 5", "--burst"),
    ],
)
def test_what_cannot_be_said_is_refused_before_there_is_a_database(
    bare: Command, line: str, flag: str
) -> None:
    answer = bare(*line.split())
    assert answer.code == 2
    assert answer.err.startswith(f"Error: {flag}: "), answer.err


@pytest.mark.parametrize("line", ["queues puase mail", "tasks puase post.send"])
def test_a_command_that_is_misspelt_is_no_name(bare: Command, line: str) -> None:
    answer = bare(*line.split())
    assert answer.code == 2
    assert "pause" in answer.err


def test_on_a_terminal_of_80_columns_what_matters_is_left(oq: Command) -> None:
    oq("queues", "limit", "mail", "--concurrency", "5", "--rate", "100/m", "--fairness", "weighted")
    oq("queues", "pause", "mail")
    env = {**os.environ, "PYTHONPATH": str(Path(openqueue.__file__).parent.parent), "TERM": "xterm"}
    env.pop("COLUMNS")
    line = [sys.executable, "-m", "openqueue", "queues"]
    with in_terminal(line, cwd=oq.project, env=env, columns=80) as terminal:
        row = terminal.read_until(r"\nmail .*\r\n").group()
    print(terminal.text)
    assert "0/5" in row
    assert "until resumed" in row
    with in_terminal([*line, "show", "mail"], cwd=oq.project, env=env, columns=80) as terminal:
        page = terminal.read_until(r"paused .*run time.*\r\n").string
    print(page)
    assert "concurrency" in page
    assert max(map(len, page.splitlines())) <= 80


def test_a_concurrency_key_is_limited_shown_and_let_go(oq: Command) -> None:
    assert oq("keys").err == "No concurrency key is in use, and of none a limit is said.\n"
    said = oq("keys", "limit", "account 7", "--concurrency", "2", "--rate", "100/1m")
    assert (said.code, said.err) == (0, "")
    assert said.out == "account 7: concurrency 2 at once, 0 running; rate 100/m\n"
    assert "account 7" in oq("keys", "list").out
    (row,) = oq("keys", "--json").json
    assert (row["key"], row["used"], row["blocked"], row["control"]["concurrency"]) == ("account 7", 0, 0, 2)
    assert oq("keys", "show", "account 7", "--json").json == row
    assert "concurrency  2 at once" in oq("keys", "show", "account 7").out
    let_go = oq("keys", "limit", "account 7", "--concurrency", "none", "--rate", "none")
    assert let_go.out == "account 7: what its runs were enqueued with\n"
    assert oq("keys", "--json").json == []


def test_a_key_at_whose_gate_runs_wait_is_listed(oq: Command) -> None:
    for number in range(2):
        line = (
            "enqueue",
            "post.send",
            "--allow-unknown",
            '{"to": "a"}',
            "--concurrency-key",
            "of the printer",
        )
        assert oq(*line).code == 0, number
    (row,) = oq("keys", "--json").json
    assert (row["key"], row["blocked"], row["control"]) == ("of the printer", 2, None)
    assert "0 hold a slot, 2 blocked" in oq("keys", "show", "of the printer").out
    assert "0 hold a slot, 0 blocked" in oq("keys", "show", "[no] such").out
