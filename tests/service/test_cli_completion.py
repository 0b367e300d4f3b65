"""What Tab offers in bash, zsh and fish: commands, flags, and names, if the database answers at once."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import openqueue
from openqueue.cli.completing import PATIENCE
from openqueue.cli.completion import SCRIPTS
from tests.support.command import Answer, Command
from tests.support.terminal import Terminal, in_terminal

UNHURRIED = "import openqueue.cli.completing\nopenqueue.cli.completing.PATIENCE = 60.0\n"
"""For Pythons whose database is there: what it offers is looked at, not whether it is quick."""


COMMON: dict[str, str] = {}
"""What every Python that is asked has in its environment."""


def with_patience(oq: Command) -> str:
    """A PYTHONPATH with which every Python has it from its start."""
    directory = oq.project / ".patience"
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(UNHURRIED)
    return os.pathsep.join([str(Path(openqueue.__file__).parent.parent), str(directory)])


def complete(oq: Command, line: str, **env: str) -> list[str]:
    answer = asked(oq, line, **env)
    assert answer.err == ""
    return [one.partition("\t")[0] for one in answer.out.splitlines() if one]


def asked(oq: Command, line: str, **env: str) -> Answer:
    """As the scripts of all shells ask."""
    how = {"_OPENQUEUE_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return oq.run(**how, **{"_TYPER_COMPLETE_ARGS": line, **COMMON, **env})


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("openqueue work", {"worker", "workers"}),
        ("openqueue runs w", {"watch"}),
        ("openqueue runs pr", {"promote", "prioritize", "prune"}),
        ("openqueue runs list --stat", {"--status"}),
        ("openqueue enqueue --key", {"--key", "--key-mode"}),
        ("openqueue runs list --status failed,ex", {"failed,expired"}),
    ],
)
def test_commands_and_flags_are_offered_without_a_database(
    bare: Command, line: str, offered: set[str]
) -> None:
    assert set(complete(bare, line)) == offered


def test_tasks_and_queues_are_offered_as_the_database_has_them(
    oq: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    oq.work()
    monkeypatch.setitem(COMMON, "PYTHONPATH", with_patience(oq))
    assert oq("enqueue", "post.send", '{"to": "a@b.c"}', "--queue", "slow").code == 0
    assert complete(oq, "openqueue enqueue post.s") == ["post.send"]
    assert set(complete(oq, "openqueue runs list --task po")) == {"post.send", "post.fail", "post.wait"}
    assert set(complete(oq, "openqueue runs watch --queue ")) == {"mail", "slow", "default"}
    assert complete(oq, "openqueue tasks post.f") == ["post.fail"]
    assert complete(oq, "openqueue worker --queue sl") == ["slow"]
    assert complete(oq, "openqueue enqueue --namespace other post.s") == []


@pytest.mark.parametrize("url", ["postgresql://app@127.0.0.1:1/x", "mysql://x", "", "postgresql://h:x/y"])
def test_a_database_that_is_away_offers_nothing_and_says_nothing(bare: Command, url: str) -> None:
    answer = asked(bare, "openqueue enqueue po", OPENQUEUE_DATABASE_URL=url)
    assert (answer.out.strip(), answer.err) == ("", "")


def test_a_database_that_does_not_answer_keeps_nobody_waiting(bare: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://app@127.0.0.1:{silent.getsockname()[1]}/x"
        begin = time.perf_counter()
        unhurried = {"OPENQUEUE_DATABASE_URL": url, "OPENQUEUE_STATEMENT_TIMEOUT": "5m"}
        assert complete(bare, "openqueue enqueue po", **unhurried) == []
        assert time.perf_counter() - begin < 100 * PATIENCE


def test_settings_that_are_refused_and_stray_variables_are_not_told(bare: Command) -> None:
    (bare.project / "openqueue.toml").write_text("this is not toml")
    assert complete(bare, "openqueue enqueue po", OPENQUEUE_GRACE="x", OPENQUEUE_NONSENSE="y") == []


@pytest.mark.parametrize("shell", SCRIPTS)
def test_each_shell_is_given_a_script(bare: Command, shell: str) -> None:
    answer = bare("completion", shell)
    assert (answer.code, answer.err) == (0, "")
    assert "_OPENQUEUE_COMPLETE" in answer.out


def test_a_shell_that_is_not_known_is_refused_with_those_that_are(bare: Command) -> None:
    answer = bare("completion", "zhs")
    assert (answer.code, answer.out) == (2, "")
    assert "SHELL: there is no script for 'zhs'. Did you mean 'zsh'?" in answer.err
    assert "Known are bash, zsh, fish." in bare("completion", "tcsh").err


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(openqueue completion bash)"),
    "zsh": (["zsh", "-f", "-i"], "source <(openqueue completion zsh)"),
    "fish": (["fish", "--no-config", "-i"], "openqueue completion fish | source"),
}
"""How each is started, and what its user writes into its start-up file."""

HOSTILE = "q$(touch pwned)`touch pwned`;\"'\\ touch pwned:1*"
"""A queue that somebody has named to do harm."""

PRESSED = {
    "openqueue enq": ["enqueue"],
    "openqueue runs canc": ["runs", "cancel"],
    "openqueue runs list --stat": ["runs", "list", "--status"],
    "openqueue runs list --status failed,ex": ["runs", "list", "--status", "failed,expired"],
    "openqueue enqueue post.s": ["enqueue", "post.send"],
    "openqueue runs list --task=post.f": ["runs", "list", "--task=post.fail"],
    "openqueue worker --queue sl": ["worker", "--queue", "slow:jobs"],
    "openqueue worker --queue slow:j": ["worker", "--queue", "slow:jobs"],
    "openqueue worker --queue q": ["worker", "--queue", HOSTILE],
    "openqueue worker --dir ta": ["worker", "--dir", "tasks"],
    "openqueue enqueue nothing.li": ["enqueue", "nothing.li"],
}
"""A line at whose end Tab is pressed, and the words that the command then has."""


@contextmanager
def live(oq: Command, shell: str) -> Iterator[Terminal]:
    """The shell with its script, in a terminal, in the project."""
    start, line = SHELLS[shell]
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"MISSING: {shell} (apt-get install {shell})")
    program = oq.project / "bin" / "openqueue"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m openqueue "$@"\n')
    program.chmod(0o755)
    env = {
        "HOME": str(oq.project),
        "LANG": "C.UTF-8",
        "OPENQUEUE_DATABASE_URL": oq.url or "",
        "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": with_patience(oq),
        "TERM": "xterm",
    }
    with in_terminal([found, *start[1:]], cwd=oq.project, env=env) as terminal:
        terminal.type(f"{line}; echo rea''dy\r")
        terminal.read_until(r"\bready\b")
        yield terminal


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_in_a_live_shell(oq: Command, shell: str) -> None:
    oq.work()
    for queue in ("slow:jobs", HOSTILE):
        assert oq("enqueue", "post.send", '{"to": "a@b.c"}', "--queue", queue).code == 0
    with live(oq, shell) as terminal:
        for number, (line, words) in enumerate(PRESSED.items()):
            said = oq.project / f"said-{number}"
            # Tab at its end; what the line is then, is printed into a file instead of being run.
            terminal.type(f"{line}\t\x05 > {said.name}\x01printf '%s\\n' \r")
            terminal.type("echo do''ne\r")
            terminal.read_until(r"\bdone\b")
            assert [word.removesuffix("/") for word in said.read_text().splitlines()] == ["openqueue", *words]
        assert not (oq.project / "pwned").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_lists_what_there_is_to_choose_from(oq: Command, shell: str) -> None:
    oq.work()
    with live(oq, shell) as terminal:
        terminal.type("openqueue enqueue post.\t\t")
        terminal.read_until(r"(?s)post\.fail.*post\.send.*post\.wait")
