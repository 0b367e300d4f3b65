"""Acting on all that a filter chooses, from the command line: counted first, done when asked, noted."""

from __future__ import annotations

import json

import pytest

from tests.support.command import Command


def test_a_filter_is_counted_first_and_acted_on_when_asked(oq: Command) -> None:
    oq.work()
    for number in range(3):
        oq("enqueue", "post.send", f'{{"to": "{number}"}}', "--delay", "1h")
    other = oq("enqueue", "post.fail", '{"why": "x"}', "--delay", "1h", "--json").json["id"]
    chosen = ("--task", "post.send", "--status", "scheduled")
    asked = oq("runs", "cancel", *chosen)
    assert asked.code == 0
    assert asked.out.startswith("cancel: 3 runs\n")
    assert "Nothing was done" in asked.err
    assert oq("runs", "count", *chosen).out == "3\n"
    done = oq("runs", "cancel", *chosen, "--yes", "--reason", "no need", "--as", "ann")
    assert (done.code, done.out) == (0, "cancel: 3 done (3 cancelled)\n")
    assert oq("runs", "cancel", *chosen, "--yes", "--json").json == {
        "action": "cancel",
        "would": None,
        "done": 0,
        "answers": {},
    }
    (entry,) = oq("audit", "--json").json
    assert (entry["action"], entry["actor"], entry["reason"], len(entry["runs"])) == (
        "cancel",
        "ann",
        "no need",
        3,
    )
    assert oq("audit", "list", "--run", other).err == "Nothing was done by hand.\n"
    moved = oq("runs", "move", other, "--to", "slow")
    assert moved.out == f"{other}  is moved\n"
    assert "move" in oq("runs", "show", other).out


def test_a_rerun_of_all_that_a_filter_chooses_is_given_a_name_by_which_to_repeat_it(oq: Command) -> None:
    oq.work()
    run = oq("enqueue", "post.send", '{"to": "x"}', "--delay", "1h", "--json").json["id"]
    line = ("runs", "rerun", "--task", "post.send", "--input", '{"to": "y"}')
    asked = oq(*line)
    name = asked.err.partition("--yes --once ")[2].strip().rstrip(".")
    assert len(name) == 8, asked.err
    assert oq(*line, "--yes", "--once", name).out == "rerun: 1 done (1 added)\n"
    assert oq(*line, "--yes", "--once", name).out == "rerun: 0 done (2 repeated)\n"
    again = oq("runs", "rerun", run, "--input", '{"to": "y"}', "--once", name)
    assert (again.code, again.out.partition("  ")[2].rpartition(" ")[0]) == (0, "was run again already, as")
    assert oq("runs", "count", "--task", "post.send").out == "2\n"


def test_an_input_that_the_task_would_not_take_makes_no_run(oq: Command) -> None:
    oq.work()
    run = oq("enqueue", "post.send", '{"to": "x"}', "--delay", "1h", "--json").json["id"]
    other = oq("enqueue", "post.later", '{"a": 1}', "--delay", "1h", "--allow-unknown", "--json").json["id"]
    wrong = ("--input", '{"too": "y"}')
    for line in ((), ("--json",), ("--yes",)):
        refused = oq("runs", "rerun", "--task", "post.send", *wrong, *line)
        assert (refused.code, refused.out) == (2, "")
        assert "post.send: `to` is missing; there is no argument `too`" in refused.err
    answers = oq("runs", "rerun", run, other, *wrong, "--json")
    assert answers.code == 1
    first, second = answers.json
    assert (first["answer"], first["made"], second["answer"]) == (None, None, "added")
    assert first["error"].startswith(f"run {run}: post.send: ")
    assert oq("runs", "count", "--task", "post.send").out == "1\n"


def test_neither_ids_nor_a_filter_is_refused_and_both_are(oq: Command) -> None:
    for line in ((), ("01981f00-5a5e-7c6e-9f0a-0123456789ab", "--task", "x")):
        answer = oq("runs", "retry", *line)
        assert answer.code == 2
        assert "give ids, or options that choose runs" in answer.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["rerun", "--input", "{}", "--once", ""], "--once: "),
        (["move", "--to", ""], "--to: "),
        (["retry", "--as", ""], "--as: "),
        (["retry", "--expect", "faild"], "--expect: there is no status 'faild'. Did you mean 'failed'?"),
    ],
)
def test_what_will_be_refused_is_refused_when_it_is_counted(oq: Command, line: list[str], said: str) -> None:
    answer = oq("runs", *line, "--task", "post.send")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"Error: {said}")


def test_the_log_of_a_run_is_printed_and_followed_to_its_end(oq: Command) -> None:
    oq.work()
    run = oq("enqueue", "post.send", '{"to": "a@b.c"}', "--json").json["id"]
    assert oq("runs", "logs", run).err == "The run has logged nothing.\n"
    oq.work()
    (line,) = oq("runs", "logs", run, "--follow").out.splitlines()
    assert line.endswith("info: sending  to=a@b.c")
    (entry,) = [json.loads(one) for one in oq("runs", "logs", run, "--json").out.splitlines()]
    assert (entry["message"], entry["fields"], entry["attempt"]) == ("sending", {"to": "a@b.c"}, 1)
