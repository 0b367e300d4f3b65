"""What a task is called: the same, whoever imports its file and however."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from openqueue.tasks import naming


@pytest.fixture(autouse=True)
def project(tmp_path: Any, monkeypatch: Any) -> Iterator[Any]:
    """A working directory of its own, and the naming directories as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    before = naming.set_roots(["tasks"])
    yield tmp_path
    naming.set_roots(before)


def function_in(file: Path, module: str, source: str = "def send(): ...") -> Any:
    scope = {"__name__": module}
    exec(compile(source, str(file), "exec"), scope)
    return scope["send"]


def test_a_file_in_a_task_directory_is_named_by_its_path_from_there(project: Any) -> None:
    for module in ("mail", "tasks.mail", "some.tasks.mail"):
        assert naming.task_name(function_in(project / "tasks" / "mail.py", module)) == "mail.send"
    assert naming.task_name(function_in(project / "tasks" / "a" / "b.py", "tasks.a.b")) == "a.b.send"


def test_a_package_is_named_as_its_folder(project: Any) -> None:
    assert (
        naming.task_name(function_in(project / "tasks" / "mail" / "__init__.py", "tasks.mail")) == "mail.send"
    )
    assert naming.task_name(function_in(project / "tasks" / "__init__.py", "tasks")) == "tasks.send"


def test_any_other_file_goes_by_its_import_name(project: Any) -> None:
    assert naming.task_name(function_in(project / "app" / "jobs.py", "app.jobs")) == "app.jobs.send"


def test_an_application_started_elsewhere_strips_the_directory_from_the_import_name() -> None:
    assert naming.task_name(function_in(Path("/srv/app/tasks/mail.py"), "tasks.mail")) == "mail.send"
    naming.set_roots(["app/tasks"])
    assert naming.task_name(function_in(Path("/srv/app/tasks/mail.py"), "app.tasks.mail")) == "mail.send"


def test_a_change_of_the_directories_changes_the_names(project: Any) -> None:
    function = function_in(project / "jobs" / "mail.py", "jobs.mail")
    assert naming.task_name(function) == "jobs.mail.send"
    assert naming.set_roots(["jobs"]) == (Path("tasks"),)
    assert naming.task_name(function) == "mail.send"
    assert naming.set_roots([]) == (Path("jobs"),)
    assert naming.task_name(function) == "jobs.mail.send"


def test_setting_the_same_directories_again_changes_nothing() -> None:
    before = naming.roots()
    naming.set_roots(["tasks"])
    assert naming.roots() is before


def test_a_nested_function_is_named_with_what_is_around_it(project: Any) -> None:
    source = "def outer():\n    def inner(): ...\n    return inner\nsend = outer()"
    function = function_in(project / "tasks" / "mail.py", "mail", source)
    assert naming.task_name(function) == "mail.outer.inner"


def test_a_link_to_a_task_directory_is_the_directory(project: Any) -> None:
    (project / "real").mkdir()
    (project / "tasks").symlink_to(project / "real")
    assert naming.task_name(function_in(project / "real" / "mail.py", "mail")) == "mail.send"


@pytest.mark.parametrize(
    ("file", "spec", "name"),
    [
        ("/srv/report.py", None, "report"),
        ("/srv/pkg/__main__.py", "pkg.__main__", "pkg"),
        ("/srv/pkg/run.py", "pkg.run", "pkg.run"),
        ("<stdin>", None, "__main__"),
        (None, None, "__main__"),
    ],
)
def test_a_script_is_named_as_a_worker_would_import_it(
    monkeypatch: Any, file: Any, spec: Any, name: Any
) -> None:
    main = ModuleType("__main__")
    main.__file__ = file
    main.__spec__ = type("Spec", (), {"name": spec})() if spec else None
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert naming.task_name(function_in(Path(file or "?"), "__main__")) == f"{name}.send"
