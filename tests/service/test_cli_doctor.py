"""`openqueue doctor` as people and monitoring see it: pages, JSON, exit codes, remedies to type."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import openqueue
from openqueue.cli.commands import COMMANDS
from openqueue.cli.main import app
from openqueue.doctor.checks import NAMES
from tests.support.command import Command
from tests.support.terminal import in_terminal

FINDING = "check severity what why mend details"


def test_the_page_has_what_and_why_and_a_command_for_each_finding(oq: Command) -> None:
    assert oq("enqueue", "post.send", '{"to": "a@b.c"}', "--allow-unknown").code == 0
    answer = oq("doctor", "--only", "backlog")
    assert answer.code in (9, 10)
    lines = answer.out.splitlines()
    assert re.fullmatch(r"(! warning|✗ critical)  backlog", lines[0])
    assert lines[1].startswith("  No worker is alive, and 1 job is ready in default, the oldest for ")
    assert lines[2:4] == ["  They wait until a worker comes.", "  $ openqueue worker"]
    assert re.fullmatch(r"1 check: 1 (warning|critical)", lines[-1])


def test_what_is_well_is_told_when_it_is_asked_for(oq: Command) -> None:
    answer = oq("doctor", "--only", "schema,pauses", "--only", "schedules", "-v")
    assert answer.code == 0
    assert [" ".join(line.split()) for line in answer.out.splitlines()] == [
        f"✓ schema openqueue, migration {oq('migrate', '--check', '--json').json['migration']}",
        "✓ pauses nothing is paused",
        "✓ schedules 0 schedules",
        "3 checks: all is well",
    ]


def test_programs_get_all_of_it(oq: Command) -> None:
    (oq.project / "tasks" / "broken.py").write_text("import no_such_module\n")
    answer = oq("doctor", "--json")
    assert answer.code == 10
    document = answer.json
    assert set(document) == {"worst", "findings", "checks"}
    assert document["worst"] == "critical"
    assert {one["check"] for one in document["checks"]} == set(NAMES)
    assert {key for one in document["checks"] for key in one} == {"check", "state", "said"}
    assert {key for one in document["findings"] for key in one} == set(FINDING.split())
    (first,) = [one for one in document["findings"] if one["check"] == "tasks"]
    assert first["severity"] == "critical"
    assert "no_such_module" in first["what"]


def test_a_notice_is_no_reason_for_an_alarm(oq: Command) -> None:
    assert oq("queues", "pause", "mail").code == 0
    answer = oq("doctor", "--only", "pauses")
    assert answer.code == 0
    assert answer.out.startswith("i notice  pauses\n")


def test_without_a_database_the_doctor_says_so_and_how_much_it_could_not_see(bare: Command) -> None:
    answer = bare("doctor")
    assert answer.code == 10
    assert "There is no database: set OPENQUEUE_DATABASE_URL=postgresql://user:password@host" in answer.out
    assert "***" not in answer.out, "what is to be filled in is no secret"
    assert answer.out.splitlines()[-1] == f"2 checks, {len(NAMES) - 2} could not be made: 1 critical"
    away = bare("doctor", "--database-url", "postgresql://app:geheim@127.0.0.1:1/shop", "--json")
    assert away.code == 10
    assert "geheim" not in away.out


def test_checks_are_listed_and_a_wrong_one_is_refused_with_the_nearest(bare: Command) -> None:
    listed = bare("doctor", "--list", "--json").json
    assert [one["check"] for one in listed] == list(NAMES)
    assert bare("doctor", "--list").out.startswith("CHECK ")
    answer = bare("doctor", "--only", "backlog,lock")
    assert answer.code == 2
    assert "--only: there is no check 'lock'. Did you mean 'locks'" in answer.err


def test_every_command_that_a_remedy_names_is_there_with_its_flags() -> None:
    room = Path(openqueue.__file__).parent / "doctor"
    text = "\n".join(path.read_text() for path in sorted(room.glob("*.py")))
    named = {
        re.sub(r"\{[^}]*\}", "x", found).replace("…", "x").partition("#")[0].strip()
        for found in re.findall(r'"(openqueue [a-z][^"]*)"', text)
    }
    assert len(named) > 15
    for line in sorted(named):
        words = shlex.split(line)[1:]
        assert words[0] in COMMANDS, line
        command = get_command(app).get_command(None, words[0])  # type: ignore[attr-defined]  # it is a group
        rest = words[1:]
        while rest and not rest[0].startswith("-") and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        flags = {flag for one in command.params for flag in one.opts} | {"--help"}
        assert {word for word in rest if word.startswith("--")} <= flags, line


@pytest.mark.parametrize("width", [40, 80])
def test_a_terminal_shows_it_within_its_width(oq: Command, width: int) -> None:
    oq("enqueue", "post.send", '{"to": "a@b.c"}', "--allow-unknown")
    line = [sys.executable, "-m", "openqueue", "doctor", "-v", "--only", "backlog,schema,pauses"]
    env = {**os.environ, "PYTHONPATH": str(Path(openqueue.__file__).parent.parent)}
    del env["COLUMNS"]
    with in_terminal(line, cwd=oq.project, env=env, columns=width) as terminal:
        page = terminal.read_until(r"\d checks: .*\r\n").string
    assert "1 job is" in page
    assert max(map(len, page.splitlines())) <= width
