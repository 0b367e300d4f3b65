"""What Tab offers in bash, zsh and fish: commands, flags, and names, if the database answers at once."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from openqueue.cli.completing import PATIENCE
from tests.support.command import Answer, Command


def complete(oq: Command, line: str, shell: str = "bash", **env: str) -> list[str]:
    answer = asked(oq, line, shell, **env)
    assert answer.err == ""
    if shell == "fish":
        return [one.partition("\t")[0] for one in answer.out.splitlines()]
    return answer.out.split()


def asked(oq: Command, line: str, shell: str = "bash", **env: str) -> Answer:
    words = line.split(" ")
    of_shell = (
        {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
        if shell == "bash"
        else {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    )
    return oq.run(**{"_OPENQUEUE_COMPLETE": f"complete_{shell}", **of_shell, **env})


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("openqueue work", {"worker", "workers"}),
        ("openqueue runs ", {"list", "show", "watch", "cancel", "retry"}),
        ("openqueue runs list --sta", {"--status"}),
        ("openqueue enqueue --key", {"--key", "--key-mode"}),
        ("openqueue runs list --status failed,ex", {"failed,expired"}),
    ],
)
def test_commands_and_flags_are_offered_without_a_database(
    bare: Command, line: str, offered: set[str]
) -> None:
    for shell in ("bash", "fish"):
        assert set(complete(bare, line, shell)) == offered


def test_tasks_and_queues_are_offered_as_the_database_has_them(oq: Command) -> None:
    oq.work()
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
        assert complete(bare, "openqueue enqueue po", OPENQUEUE_DATABASE_URL=url) == []
        assert time.perf_counter() - begin < 10 * PATIENCE


def test_settings_that_are_refused_and_stray_variables_are_not_told(bare: Command) -> None:
    (bare.project / "openqueue.toml").write_text("this is not toml")
    assert complete(bare, "openqueue enqueue po", OPENQUEUE_GRACE="x", OPENQUEUE_NONSENSE="y") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_given_a_script_that_it_can_read(bare: Command, shell: str, tmp_path: Path) -> None:
    script = bare.run(_OPENQUEUE_COMPLETE=f"source_{shell}", SHELL=f"/bin/{shell}")
    assert script.code == 0
    assert "_OPENQUEUE_COMPLETE" in script.out
    if found := shutil.which(shell):
        file = tmp_path / "script"
        file.write_text(script.out)
        checked = subprocess.run([found, "-n", str(file)], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
