"""Enqueue, look, act: the commands around runs, on a real database and with a real worker."""

from __future__ import annotations

import io
import time
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.command import Command
from tests.support.eventually import PATIENCE


@pytest.fixture
def worked(oq: Command, server_dsn: str) -> Command:
    """A worker has run one run that completed and one that failed; a third waits until tomorrow.

    That is done once, and then copied.
    """
    assert oq.url is not None
    mine = urlsplit(oq.url).path[1:]
    with psycopg.connect(server_dsn, autocommit=True) as server:
        if not WORKED:
            do_work(oq)
            copy(server, mine, f"{mine}_worked")
            WORKED.append(f"{mine}_worked")
        else:
            server.execute(f'DROP DATABASE "{mine}" WITH (FORCE)'.encode())
            copy(server, WORKED[0], mine)
    return oq


WORKED: list[str] = []
"""The database in which it was done, of this process."""


def copy(server: psycopg.Connection[Any], source: str, name: str) -> None:
    """Copy a database, once the sessions in it have ended."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"'.encode())
            return
        except psycopg.errors.ObjectInUse:
            assert time.monotonic() < until, f"{source} is in use"


def do_work(oq: Command) -> None:
    oq.work()  # so that the tasks are known
    oq("enqueue", "post.send", '{"to": "a@b.c"}', "--allow-unknown", "--meta", "tenant=42", "--tag", "vip")
    oq("enqueue", "post.fail", '{"why": "it rains"}', "--allow-unknown", "--meta", "tenant=7")
    oq("enqueue", "post.send", '{"to": "later"}', "--allow-unknown", "--delay", "1d")
    oq.work()


def ids(oq: Command, *flags: str) -> list[str]:
    return [run["id"] for run in oq("runs", "list", "--json", *flags).json]


def test_enqueue_prints_the_id_and_nothing_else_on_standard_output(oq: Command) -> None:
    answer = oq("enqueue", "post.send", '{"to": "a@b.c"}', "--allow-unknown")
    assert answer.code == 0
    assert answer.out == f"{UUID(answer.out.strip())}\n"
    assert ids(oq) == [answer.out.strip()]


def test_every_option_arrives_with_the_run(oq: Command) -> None:
    flags = (
        "--priority -5 --queue slow --key k --meta tenant=42 --meta name=Ada --tag a --tag b --max-attempts 3"
    )
    oq("enqueue", "post.send", '{"to": "x"}', "--allow-unknown", *flags.split(), "--deadline", "2d")
    (run,) = oq("runs", "list", "--json").json
    assert run["input"] == {"to": "x"}
    assert run["meta"] == {"tenant": 42, "name": "Ada"}
    assert (run["priority"], run["queue"], run["key"], run["max_attempts"]) == (-5, "slow", "k", 3)
    assert run["tags"] == ["a", "b"]
    assert run["deadline"] is not None
    assert run["status"] == "queued"


def test_an_unknown_task_is_refused_with_the_nearest_name_and_the_flag(worked: Command) -> None:
    answer = worked("enqueue", "post.sendd")
    assert answer.code == 2
    assert "Did you mean 'post.send'" in answer.err
    assert "--allow-unknown" in answer.err
    assert "allow_unknown" not in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["post.send", '{"a": "\\u0000"}'], "input.a contains NUL"),
        (["post.send", '{"a": 99999999999999999999}'], "input.a is an integer over 64 bit"),
        (["post.send", "--queue", "*"], "--queue must be a name of 1 to 200 characters, and not *"),
        (["post.send", "--key", "k\0"], "--key: 'k\\x00' contains a control character"),
        (["post.send", "--meta", 'a="\\u0000"'], "--meta: meta.a contains NUL"),
        (["post.send", "--watch", "--timeout", "soon"], "--timeout: 'soon' is not a duration"),
    ],
)
def test_bad_input_is_refused_in_the_words_of_the_command_line_and_nothing_is_stored(
    oq: Command, arguments: list[str], said: str
) -> None:
    answer = oq("enqueue", *arguments, "--allow-unknown")
    assert answer.code == 2
    assert said in answer.err
    assert ids(oq) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{}", "post.send: `to` is missing"),
        ('{"to": 1}', "`to` must be of type string (got int)"),
        ('{"to": "a@b.c", "subjekt": "x"}', "there is no argument `subjekt`. Did you mean 'subject'?"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--allow-unknown"]])
def test_arguments_that_the_task_would_refuse_are_refused_before_anything_is_stored(
    worked: Command, arguments: str, said: str, flags: list[str]
) -> None:
    before = ids(worked)
    answer = worked("enqueue", "post.send", arguments, *flags)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert ids(worked) == before


def standard_input(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_arguments_may_come_from_standard_input_in_utf_8_whatever_the_locale(
    oq: Command, monkeypatch: pytest.MonkeyPatch, mark: bytes
) -> None:
    standard_input(mark + '{"to": "stdin ü"}\n'.encode(), monkeypatch)
    oq("enqueue", "post.send", "-", "--allow-unknown")
    assert oq("runs", "list", "--json").json[0]["input"] == {"to": "stdin ü"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"to": "\xff"}', "JSON: standard input is not UTF-8 text: byte 8 is 0xff. Save it as UTF-8"),
        ('{"to": "x"}'.encode("utf-16"), "JSON: standard input is not UTF-8 text: byte 0 is 0xff."),
        (b"", "JSON: standard input is empty. Write the arguments by name"),
        (b"\n", "JSON: standard input is empty."),
        (b"{", "JSON: standard input is not JSON: Expecting property name"),
        (b"[" * 100_000, "JSON: standard input is nested too deeply."),
    ],
)
def test_standard_input_that_cannot_be_used_is_told_with_the_place(
    bare: Command, monkeypatch: pytest.MonkeyPatch, data: bytes, said: str
) -> None:
    standard_input(data, monkeypatch)
    answer = bare("enqueue", "post.send", "-", "--allow-unknown")
    assert answer.code == 2
    assert answer.err.startswith(f"Error: {said}")


def test_a_key_keeps_the_waiting_run_or_replaces_it(oq: Command) -> None:
    common = ["enqueue", "post.send", "--allow-unknown", "--json", "--key", "k"]
    first = oq(*common).json
    kept = oq(*common, "--key-mode", "skip").json
    replaced = oq(*common, "--key-mode", "replace").json
    assert [first["outcome"], kept["outcome"], replaced["outcome"]] == ["added", "existing", "replaced"]
    assert first["id"] == kept["id"] == replaced["id"]


def test_watch_prints_the_result_and_tells_what_happens(oq: Command) -> None:
    worker = oq.start("worker", "--grace", "100ms")  # one of its tasks waits for ever
    try:
        flags = ("--allow-unknown", "--watch", "--timeout", "60s")
        answer = oq("enqueue", "post.send", '{"to": "a@b.c"}', *flags)
        failed = oq("enqueue", "post.fail", '{"why": "it rains"}', *flags, "--json")
        late = oq("enqueue", "post.wait", "--allow-unknown", "--watch", "--timeout", "300ms")
    finally:
        worker.terminate()
        _, err = worker.communicate(timeout=240)
    assert (answer.code, answer.out) == (0, '"sent to a@b.c"\n'), err
    assert "completed" in answer.err
    assert "info: sending  to=a@b.c" in answer.err
    assert failed.code == 1
    assert failed.json["status"] == "failed"
    assert "it rains" in failed.err
    assert late.code == 8
    assert "goes on" in late.err


def test_each_filter_leaves_what_it_says(worked: Command) -> None:
    everything = ["post.send", "post.fail", "post.send"]
    for flags, tasks in (
        ([], everything),
        (["--task", "post.fail"], ["post.fail"]),
        (["--queue", "mail"], ["post.send", "post.send"]),
        (["--status", "failed"], ["post.fail"]),
        (["--status", "failed,completed"], ["post.fail", "post.send"]),
        (["--status", "failed", "--status", "scheduled"], ["post.send", "post.fail"]),
        (["--meta", "tenant=42"], ["post.send"]),
        (["--meta", 'tenant="42"'], []),
        (["--tag", "vip"], ["post.send"]),
        (["--since", "1h"], everything),
        (["--until", "1h"], []),
        (["--since", "2020-01-01", "--until", "2020-01-02 12:00"], []),
        (["--limit", "1"], ["post.send"]),
    ):
        found = worked("runs", "list", "--json", *flags).json
        assert [run["task"] for run in found] == tasks, flags


def test_a_page_ends_with_where_the_next_begins(worked: Command) -> None:
    everything = ids(worked)
    first = worked("runs", "list", "--limit", "2")
    assert first.err == f"There may be more: --before {everything[1]}\n"
    assert ids(worked, "--before", everything[1]) == everything[2:]


def test_an_empty_list_says_so_on_standard_error_and_is_an_empty_array_in_json(oq: Command) -> None:
    for line, said in (
        (["runs", "list"], "No runs were found.\n"),
        (["tasks"], "No worker has published a task yet. Start one: openqueue worker\n"),
        (["workers"], "No worker is running. Start one: openqueue worker\n"),
        (["queues"], "No queue has anything to do.\n"),
    ):
        answer = oq(*line)
        assert (answer.code, answer.out, answer.err) == (0, "", said)
        assert oq(*line, "--json").json == []


def test_a_name_that_nobody_knows_is_told_where_nothing_was_found(worked: Command) -> None:
    for flags, said in (
        (("--queue", "mial"), "queue 'mial', and nothing waits in it. Did you mean 'mail'?"),
        (("--error", "GiveUp"), "Types of errors have their module before them"),
        (("--task", "post.sand"), "No worker has published a task 'post.sand'. Did you mean 'post.send'"),
        (("--schedule", "nightly"), "There is no schedule 'nightly'."),
        (
            ("--worker", "w-1"),
            "No worker that is there is named 'w-1'. One that has gone is found by its id.",
        ),
    ):
        for line in (("list",), ("list", "--json"), ("count",), ("retry",), ("cancel", "--yes")):
            answer = worked("runs", *line, *flags)
            assert answer.code == 0
            assert said in answer.err, line
    for known in (("--queue", "mail", "--until", "1h"), ("--worker", str(uuid4()))):
        assert worked("runs", "list", *known).err == "No runs were found.\n"


def test_show_has_all_that_is_known_of_a_run(worked: Command) -> None:
    (run_id,) = ids(worked, "--status", "completed")
    page = worked("runs", "show", run_id).out
    for part in ("post.send", "completed", '"a@b.c"', '"sent to a@b.c"', '{"tenant": 42}', "vip", "Timeline"):
        assert part in page
    run = worked("runs", "show", run_id, "--json").json
    assert run["output"] == "sent to a@b.c"
    assert run["progress"] == {"sent": 1}
    assert run["events"][0]["event"] == "enqueued"
    assert run["events"][-1]["event"] == "completed"
    assert {"log", "progress", "started"} <= {event["event"] for event in run["events"]}
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["completed"]


def test_show_has_the_traceback_of_a_failed_run(worked: Command) -> None:
    (run_id,) = ids(worked, "--status", "failed")
    page = worked("runs", "show", run_id).out
    assert "Traceback (most recent call last):" in page
    assert "post.py" in page
    assert "it rains" in page


def test_a_run_that_does_not_exist_ends_with_1(oq: Command) -> None:
    for command in ("show", "cancel", "retry"):
        answer = oq("runs", command, str(uuid4()))
        assert answer.code == 1
        assert "There is no run" in answer.err


def test_cancel_ends_what_waits_and_leaves_what_has_ended(worked: Command) -> None:
    waiting, failed, completed = ids(worked)
    answer = worked("runs", "cancel", waiting, completed, "--reason", "no need")
    assert answer.code == 0
    assert answer.out == f"{waiting}  cancelled\n{completed}  had ended already: nothing to cancel\n"
    assert ids(worked, "--status", "cancelled") == [waiting]
    assert ids(worked, "--status", "failed") == [failed]


def test_one_id_that_is_wrong_does_not_keep_the_others_from_it(worked: Command) -> None:
    waiting, nobody = ids(worked)[0], str(uuid4())
    answer = worked("runs", "cancel", nobody, waiting, "--json")
    assert answer.code == 1
    assert [(one["id"], one["answer"]) for one in answer.json] == [(nobody, None), (waiting, "cancelled")]


def test_retry_runs_a_finished_run_again_and_keeps_its_history(worked: Command) -> None:
    (failed,) = ids(worked, "--status", "failed")
    assert worked("runs", "retry", failed).out == f"{failed}  is ready to run\n"
    assert worked("runs", "show", failed, "--json").json["status"] == "queued"
    worked.work()
    assert len(worked("runs", "show", failed, "--json").json["attempts"]) == 2
    page = worked("runs", "show", failed).out
    assert "retried    by=" in page
    assert "attempt   1 of" in page
    assert "attempt 2" not in page


def test_the_reason_of_a_cancel_is_on_the_page_of_a_run_that_ran(oq: Command) -> None:
    worker = oq.start("worker")
    try:
        run_id = oq("enqueue", "post.wait", "--allow-unknown").out.strip()
        while oq("runs", "show", run_id, "--json").json["status"] != "running":
            pass
        assert oq("runs", "cancel", run_id, "--reason", "wrong tenant").code == 0
        while oq("runs", "show", run_id, "--json").json["status"] == "running":
            pass
    finally:
        worker.terminate()
        worker.communicate(timeout=240)
    assert "Cancelled: wrong tenant" in oq("runs", "show", run_id).out


def test_tasks_shows_what_workers_have_published(worked: Command) -> None:
    found = {one["task"]: one for one in worked("tasks", "--json").json}
    assert set(found) == {"post.send", "post.fail", "post.wait"}
    assert found["post.send"]["queue"] == "mail"
    assert found["post.send"]["input_schema"]["required"] == ["to"]
    table = worked("tasks", "post.s").out
    assert 'to: string, subject: string = "Hello"' in table
    assert "Send a mail." in table
    assert "post.wait" not in table
    assert worked("tasks", "nope").err == "No task begins with 'nope'.\n"


def test_runs_of_another_namespace_are_not_shown(worked: Command) -> None:
    assert worked("runs", "list", "--namespace", "other").err == "No runs were found.\n"
    assert worked("tasks", "--namespace", "other", "--json").json == []


def test_what_is_not_a_terminal_gets_no_colour_and_nothing_is_cut(oq: Command) -> None:
    long = "x" * 500
    oq("enqueue", "post.fail", f'{{"why": "{long}"}}', "--allow-unknown")
    oq.work()
    out = oq("runs", "list").out
    assert "\x1b[" not in out
    assert f"GiveUp: {long}\n" in out


def test_control_characters_of_others_do_not_reach_the_terminal(oq: Command) -> None:
    oq("enqueue", "post.fail", '{"why": "\\u001b]0;owned\\u0007"}', "--allow-unknown")
    oq.work()
    (run_id,) = ids(oq)
    for answer in (oq("runs", "list"), oq("runs", "show", run_id)):
        assert "\x1b" not in answer.out
        assert "\\x1b]0;owned\\x07" in answer.out
