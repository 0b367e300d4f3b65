"""The project around the code: the lock, the linter's exceptions, the image, the gate."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib

import pytest

from tests.rules.source import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKED = {
    match[1]: match[0]
    for match in re.finditer(r"^([a-z0-9.-]+)==\S+.*?(?=^\S|\Z)", LOCK, re.MULTILINE | re.DOTALL)
}


def names(requirements: list[str]) -> set[str]:
    found = {re.split(r"[ \[<>=;]", requirement, maxsplit=1)[0].lower() for requirement in requirements}
    return found - {"openqueue"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, argument), comments and line ends removed."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    pairs = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(word, " ".join(rest.split())) for word, _, rest in pairs]


def last_stage() -> dict[str, list[str]]:
    """What the image that is kept says, by instruction."""
    found = instructions()
    start = max(at for at, (word, _) in enumerate(found) if word == "FROM")
    stage: dict[str, list[str]] = {}
    for word, argument in found[start:]:
        stage.setdefault(word, []).append(argument)
    return stage


def test_the_lock_pins_everything_that_is_needed_with_hashes() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    needed = names([*PROJECT["project"]["dependencies"], *extras["dev"], *extras["embedded"]])
    assert needed <= set(LOCKED)
    assert [name for name, entry in LOCKED.items() if "--hash=sha256:" not in entry] == []


def test_what_an_extra_brings_is_used() -> None:
    """But for those of parts that are not there yet."""
    extras = PROJECT["project"]["optional-dependencies"]
    files = [path for room in ("openqueue", "tests") for path in (ROOT / room).rglob("*.py")]
    code = "\n".join(path.read_text() for path in files)
    for extra in set(extras) - {"dev", "web"}:
        for name in names(extras[extra]):
            module = name.removesuffix("-api").replace("-", "_")
            assert re.search(rf"\b{module}\b", code), f"{extra}: {name}"


def test_the_lock_names_no_index() -> None:
    assert not re.search(r"https?://|file:|--(extra-)?index|--find-links", LOCK)


def test_every_lint_that_is_ignored_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    section = text[text.index("\nignore = [") : text.index("[tool.ruff.lint.pydocstyle]")]
    codes = [line for line in section.splitlines() if re.match(r'\s+"[A-Z]+\d*",', line)]
    assert len(codes) > 15
    assert [line for line in codes if not re.search(r"# .{8,}", line)] == []


def test_every_exception_in_the_code_names_its_rule() -> None:
    bare = re.compile(r"# noqa(?!: [A-Z])|# type: ignore(?!\[)")
    files = [path for room in ("openqueue", "tests", "examples") for path in (ROOT / room).rglob("*.py")]
    found = [str(path) for path in files if path.name != "test_house.py" and bare.search(path.read_text())]
    assert found == []


def test_the_image_is_built_in_two_stages_of_which_one_is_kept() -> None:
    stages = [argument for word, argument in instructions() if word == "FROM"]
    assert len(stages) == 2
    assert re.fullmatch(r"python:3\.\d+-slim AS build", stages[0])
    assert re.fullmatch(r"python:3\.\d+-slim", stages[1])
    assert stages[0].split()[0] == stages[1]
    assert all(argument.startswith("--from=build ") for argument in last_stage()["COPY"])


def test_the_image_does_not_run_as_root() -> None:
    (user,) = last_stage()["USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    found = instructions()
    assert found.index(("USER", user)) > max(
        at for at, (word, _) in enumerate(found) if word in {"RUN", "COPY"}
    )


def test_the_image_starts_a_worker_without_a_shell_between() -> None:
    stage = last_stage()
    assert json.loads(stage["ENTRYPOINT"][0]) == ["openqueue"]
    assert json.loads(stage["CMD"][0]) == ["worker"]
    assert stage["STOPSIGNAL"] == ["SIGTERM"]


def test_the_image_asks_the_worker_for_its_health() -> None:
    (check,) = last_stage()["HEALTHCHECK"]
    options, _, command = check.partition(" CMD ")
    assert {option.split("=")[0] for option in options.split()} >= {
        "--interval",
        "--timeout",
        "--start-period",
    }
    assert json.loads(command)[:2] == ["openqueue", "health"]
    assert "OPENQUEUE_HEALTH=127.0.0.1:9464" in last_stage()["ENV"][0].split()


def test_what_the_image_copies_is_there_and_sent() -> None:
    sent = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line[:1] == "!"
    }
    copied = [argument for word, argument in instructions() if word == "COPY" and "--from" not in argument]
    for source in (name for argument in copied for name in argument.split()[:-1]):
        assert (ROOT / source).exists()
        assert source.removeprefix("./") in sent


def test_the_commands_of_the_image_are_whole() -> None:
    """What a shell can tell without running them."""
    for word, argument in instructions():
        if word == "RUN":
            subprocess.run(["sh", "-n", "-c", argument], check=True)
            assert shlex.split(argument)


def test_the_images_constraints_are_the_locked_versions() -> None:
    """Its `sed` makes of the lock a list that pip takes as constraints, markers included."""
    command = next(
        argument for word, argument in instructions() if word == "RUN" and argument.startswith("sed ")
    )
    made = subprocess.run(
        ["sh", "-c", command.partition(" > ")[0]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = made.stdout.splitlines()
    assert {line.split("==")[0] for line in lines} == set(LOCKED)
    assert [
        line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[^ ;\\]+( ; [^\\]+)?", line.strip())
    ] == []


@pytest.mark.parametrize("target", ["help", "demo", "test", "check", "lint", "types", "bench", "measure"])
def test_a_target_of_the_makefile_is_explained(target: str) -> None:
    assert re.search(rf"^{target}:.* ## \w", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_gate_is_make_check() -> None:
    assert "make check" in (ROOT / ".ci" / "run").read_text()
    check = re.search(r"^check: (.*) ##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert check
    assert {"lint", "types", "test", "examples", "wheel"} <= set(check[1].split())
