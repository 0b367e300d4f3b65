"""Finding tasks: in order, once, by the same names everywhere, and with the truth about what is broken."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from openqueue.errors import ConfigError, InvalidTask
from openqueue.tasks import naming
from openqueue.tasks.discovery import discover, task_files

MAIL = """
from openqueue import task

@task
async def send_mail(to: str) -> str:
    return to
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Any, monkeypatch: Any) -> Iterator[Any]:
    """A working directory of its own; path, modules and naming as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before, modules = naming.set_roots(["tasks"]), set(sys.modules)
    importlib.invalidate_caches()
    yield tmp_path
    naming.set_roots(before)
    for name in set(sys.modules) - modules:
        if not name.startswith(("openqueue.", "pydantic", "annotated_types")):
            del sys.modules[name]


def write(path: str, text: str = MAIL) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dedent(text))
    return file


def test_a_task_directory_is_found_with_everything_below_it() -> None:
    write("tasks/mail.py")
    write("tasks/deep/er/mail.py")
    write("tasks/pack/__init__.py")
    assert discover(["tasks"]).names == ("deep.er.mail.send_mail", "mail.send_mail", "pack.send_mail")


def test_the_program_s_own_import_of_the_file_is_the_same_module_and_the_same_task() -> None:
    write("tasks/mail.py")
    write("tasks/report.py", "from tasks.mail import send_mail")
    registry = discover(["tasks"])
    assert registry.names == ("mail.send_mail",)
    assert sys.modules["tasks.mail"].send_mail is registry.get("mail.send_mail")


def test_what_the_program_imported_before_is_not_loaded_again() -> None:
    write("tasks/mail.py")
    sys.path.insert(0, str(Path.cwd()))
    mine = importlib.import_module("tasks.mail").send_mail
    assert mine.name == "mail.send_mail"
    assert discover(["tasks"]).get("mail.send_mail") is mine


def test_a_file_loaded_under_a_second_name_is_no_duplicate() -> None:
    write("tasks/mail.py")
    write("tasks/other.py", "import mail_b")
    write("tasks/mail_b.py")
    write("later.py", "import tasks.mail_b")
    sys.path.append(str(Path("tasks").absolute()))
    registry = discover(["tasks"], ["later"])
    assert registry.names == ("mail.send_mail", "mail_b.send_mail")
    first, second = sys.modules["mail_b"].send_mail, sys.modules["tasks.mail_b"].send_mail
    assert first is not second
    assert first.name == second.name == "mail_b.send_mail"


def test_an_application_process_names_a_task_as_the_worker_does() -> None:
    write("tasks/mail.py")
    (worker,) = discover(["tasks"]).names
    code = "from tasks.mail import send_mail; print(send_mail.name)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    for directory in (Path.cwd(), Path("/")):
        told = subprocess.run(
            [sys.executable, "-c", code],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == worker == "mail.send_mail"


def test_a_directory_off_the_path_is_found_too_and_its_files_import_each_other(tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(f"{elsewhere}/my-tasks/mail.py")
    write(f"{elsewhere}/my-tasks/report.py", "from .mail import send_mail as again\nfrom . import mail")
    assert discover([elsewhere / "my-tasks"]).names == ("mail.send_mail",)


def test_a_directory_off_the_path_may_be_a_package(tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(f"{elsewhere}/tasks/__init__.py", "LIMIT = 5\n" + dedent(MAIL))
    write(f"{elsewhere}/tasks/mail.py", "from . import LIMIT\n" + dedent(MAIL))
    assert discover([elsewhere / "tasks"]).names == ("mail.send_mail", "tasks.send_mail")


def test_a_file_named_like_a_standard_module_hides_nothing() -> None:
    write("tasks/queue.py")
    write("tasks/email.py")
    assert discover(["tasks"]).names == ("email.send_mail", "queue.send_mail")
    assert "tasks" not in (importlib.import_module("queue").__file__ or "")


def test_a_directory_on_the_path_itself_has_its_modules_at_the_top() -> None:
    write("lib/mailing_here.py")
    sys.path.insert(0, str(Path("lib").absolute()))
    assert discover(["lib"]).names == ("mailing_here.send_mail",)
    assert "mailing_here" in sys.modules


def test_a_file_on_the_path_that_a_standard_module_hides_is_found_all_the_same() -> None:
    write("lib/queue.py")
    sys.path.append(str(Path("lib").absolute()))
    assert discover(["lib"]).names == ("queue.send_mail",)


def test_the_working_directory_itself_may_be_the_task_directory() -> None:
    write("mail_at_the_top.py")
    write("__init__.py", "")
    assert discover(["."]).names == ("mail_at_the_top.send_mail",)


def test_modules_are_imported_by_name_from_the_working_directory_with_what_they_import() -> None:
    write("app/__init__.py", "from . import jobs")
    write("app/jobs.py")
    assert discover([], ["app"]).names == ("app.jobs.send_mail",)


def test_tests_caches_and_environments_are_left_alone() -> None:
    for path in (
        "tasks/test_mail.py",
        "tasks/mail_test.py",
        "tasks/conftest.py",
        "tasks/setup.py",
        "tasks/__main__.py",
        "tasks/tests/mail.py",
        "tasks/__pycache__/mail.py",
        "tasks/.hidden/mail.py",
        "tasks/node_modules/mail.py",
        "tasks/env/lib/mail.py",
    ):
        write(path, "raise RuntimeError('imported')")
    write("tasks/env/pyvenv.cfg", "")
    write("tasks/readme.txt", "")
    write("tasks/mail.py")
    assert [file.name for file in task_files(Path("tasks"))] == ["mail.py"]
    assert discover(["tasks"]).names == ("mail.send_mail",)


def test_imports_happen_in_order_one_after_the_other() -> None:
    write("tasks/b.py", "import builtins; builtins.order.append('b')")
    write("tasks/a.py", "import builtins; builtins.order.append('a')")
    write("more/c.py", "import builtins; builtins.order.append('c')")
    write("last.py", "import builtins; builtins.order.append('last')")
    import builtins

    builtins.order = []  # type: ignore[attr-defined]
    discover(["tasks", "more"], ["last"])
    assert builtins.order == ["a", "b", "c", "last"]  # type: ignore[attr-defined]
    del builtins.order  # type: ignore[attr-defined]


def test_two_tasks_of_one_name_are_refused_naming_both_files() -> None:
    write("tasks/mail.py")
    write("more/mail.py")
    with pytest.raises(InvalidTask, match=r"two tasks are called 'mail\.send_mail'") as caught:
        discover(["tasks", "more"])
    assert "tasks/mail.py:" in str(caught.value)
    assert "more/mail.py:" in str(caught.value)


def test_a_function_declared_twice_in_one_file_is_refused_too() -> None:
    write("tasks/mail.py", dedent(MAIL) + dedent(MAIL))
    with pytest.raises(InvalidTask, match="two tasks are called"):
        discover(["tasks"])


def test_a_module_that_fails_is_told_with_its_own_traceback_and_nothing_above_it() -> None:
    write("tasks/mail.py", "def helper():\n    return 1 / 0\n\nhelper()\n")
    with pytest.raises(ConfigError, match=r"tasks/mail\.py cannot be imported: ZeroDivisionError") as caught:
        discover(["tasks"])
    message = str(caught.value)
    assert "in helper" in message
    assert "1 / 0" in message
    assert "importlib" not in message
    assert "discovery.py" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (
            "from openqueue import task\n@task(quee='x')\ndef f(): ...",
            "quee: .* Did you mean 'queue'",
        ),
        ("from openqueue import task\n@task\ndef f(*a): ...", "f: the parameter"),
        ("from openqueue import tsk", "ImportError"),
    ],
)
def test_whatever_goes_wrong_in_a_module_is_a_config_error_that_names_it(text: Any, said: Any) -> None:
    write("tasks/mail.py", text)
    with pytest.raises(ConfigError, match=rf"(?s)tasks/mail\.py cannot be imported: {said}"):
        discover(["tasks"])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("@task(quee='x')\ndef f(): ...", 2, "quee: @task has no such option. Did you mean 'queue'?"),
        ("@task(timeout='soon')\ndef f(): ...", 2, "timeout: 'soon' is not a duration."),
        ("@task\ndef f(*a): ...", 2, "f: the parameter `*a` takes any number of arguments"),
        ("class A:\n    @task\n    def f(self): ...", 3, "A.f is a method. Move it out of its class"),
        ("@task('mail')\ndef f(): ...", 2, "Options go by name, such as @task(queue='mail')"),
    ],
)
def test_a_wrong_declaration_is_told_with_its_own_line_and_no_frame_of_the_library(
    text: str, line: int, said: str
) -> None:
    file = write("tasks/mail.py", f"from openqueue import task\n{text}").absolute()
    with pytest.raises(ConfigError) as caught:
        discover(["tasks"])
    told = str(caught.value)
    assert told.startswith(f"{file} cannot be imported: ")
    assert said in told.partition("\n")[0]
    assert [part for part in told.splitlines() if " File " in part][-1].startswith(
        f'  File "{file}", line {line},'
    )
    assert "openqueue/tasks/" not in told
    assert "Traceback" not in told
    assert told.count(said) == 1


def test_a_declaration_in_a_function_shows_every_line_that_led_to_it_and_no_other() -> None:
    write(
        "tasks/make.py", "from openqueue import task\ndef make(function):\n    return task(rty=1)(function)"
    )
    write("tasks/mail.py", "from .make import make\n@make\ndef f(): ...")
    with pytest.raises(ConfigError) as caught:
        discover(["tasks"])
    told = str(caught.value)
    assert [part.split(",")[1].strip() for part in told.splitlines() if " File " in part] == [
        "line 2",
        "line 3",
    ]
    assert "mail.py" in told
    assert "make.py" in told


def test_a_foreign_error_keeps_its_frames_and_its_causes_without_those_of_the_library() -> None:
    text = """
    import json
    from openqueue.durations import parse_duration
    try:
        parse_duration("soon", field="x")
    except ValueError as error:
        raise RuntimeError("no plan") from error
    """
    write("tasks/mail.py", text)
    with pytest.raises(ConfigError, match=r"cannot be imported: RuntimeError: no plan") as caught:
        discover(["tasks"])
    told = str(caught.value)
    assert "The above exception was the direct cause" in told
    assert "InvalidOption: x: 'soon' is not a duration" in told
    assert "durations.py" not in told
    write("tasks/mail.py", "import json\njson.loads('{')\n")
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match="JSONDecodeError") as caught:
        discover(["tasks"])
    assert "decoder.py" in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ("threading.Lock", "the argument `a` cannot be sent as JSON: nothing is known of how to write"),
        ("5", "the argument `a` cannot be sent as JSON: nothing is known of how to write 5"),
        ("Annotated[int, Field(gt='x')]", "the argument `a` cannot be sent as JSON: 'gt' must be coercible"),
        ("Annotated[str, Field(pattern='(')]", "the argument `a` cannot be sent as JSON: regex parse error"),
        ("'1 / 0'", "an annotation cannot be understood: ZeroDivisionError: division by zero"),
        ("'list['", "an annotation cannot be understood"),
        ("'Later'", "the argument `a` cannot be sent as JSON: name 'Nowhere' is not defined"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_told_in_one_line_with_its_place(
    annotation: str, said: str
) -> None:
    write(
        "tasks/mail.py",
        f"""
        import threading
        from typing import Annotated
        from pydantic import BaseModel, Field
        from openqueue import task

        @task
        def f(a: {annotation}) -> None: ...

        class Later(BaseModel):
            x: "Nowhere"
        """,
    )
    with pytest.raises(InvalidTask) as caught:
        discover(["tasks"])
    told = str(caught.value)
    assert told.startswith(f"f: {said}")
    assert told.endswith(f"(task 'mail.f', {Path('tasks/mail.py').absolute()}:7)")
    assert "arbitrary_types_allowed" not in told
    assert "\n" not in told


def test_a_broken_package_above_the_directory_is_told_as_well() -> None:
    write("app/__init__.py", "1 / 0")
    write("app/tasks/mail.py")
    with pytest.raises(ConfigError, match=r"app/tasks/mail\.py cannot be imported: ZeroDivisionError"):
        discover(["app/tasks"])


def test_a_broken_package_off_the_path_is_told_as_well(tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(f"{elsewhere}/tasks/__init__.py", "1 / 0")
    with pytest.raises(ConfigError, match=r"__init__\.py cannot be imported: ZeroDivisionError"):
        discover([elsewhere / "tasks"])


def test_a_directory_that_does_not_exist_is_refused_unless_that_is_allowed() -> None:
    with pytest.raises(
        ConfigError, match=r"directory tasks does not exist .*Create it, or say where .* --dir"
    ):
        discover(["tasks"])
    assert len(discover(["tasks"], allow_missing=True)) == 0
    write("tasks", "a file")
    with pytest.raises(ConfigError):
        discover(["tasks"], allow_missing=True)


def test_a_module_that_does_not_exist_is_refused_with_the_nearest() -> None:
    write("application.py")
    with pytest.raises(ConfigError, match=r"There is no module 'aplication' .* Did you mean 'application'\?"):
        discover([], ["aplication"])
    with pytest.raises(ConfigError, match=r"There is no module 'application.jobs'"):
        discover([], ["application.jobs"])


def test_a_module_misspelt_within_its_package_is_refused_with_the_nearest_there() -> None:
    write("outlet/__init__.py")
    write("outlet/tasks.py")
    with pytest.raises(ConfigError, match=r"module 'outlet\.taks' .* Did you mean 'outlet\.tasks'\? Correct"):
        discover([], ["outlet.taks"])


@pytest.mark.parametrize("path", ["outlet/tasks.py", "./outlet/tasks.py", "outlet/tasks"])
def test_a_file_in_place_of_a_module_is_refused_with_its_name(path: str) -> None:
    write("outlet/tasks.py")
    with pytest.raises(ConfigError, match=r"There is no module '.*' .* Did you mean 'outlet\.tasks'\?"):
        discover([], [path])


def test_a_file_that_cannot_be_imported_for_its_name_is_refused() -> None:
    write("tasks/mail.old.py")
    with pytest.raises(ConfigError, match="has a dot in its name"):
        discover(["tasks"])


def test_a_signature_that_cannot_be_used_is_found_before_any_job_is() -> None:
    write("tasks/mail.py", "from openqueue import task\n@task\ndef f(a: 'Nowhere') -> None: ...")
    with pytest.raises(InvalidTask, match=r"'Nowhere' is unknown .*task 'mail\.f', .*mail\.py:2"):
        discover(["tasks"])


def test_nothing_to_discover_is_an_empty_registry() -> None:
    Path("tasks").mkdir()
    assert len(discover(["tasks"])) == 0
    assert len(discover()) == 0
