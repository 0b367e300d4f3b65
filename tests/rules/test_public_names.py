"""What users import: there, documented, and of the version that the package says."""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib.metadata import PackageNotFoundError, version

import pytest

import openqueue
from tests.rules.source import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PUBLIC = [name for name in openqueue.__all__ if name != "__version__"]


def own_methods(kind: type) -> list[str]:
    """The public methods and properties that a class defines itself."""
    described = (property, staticmethod, classmethod)
    return [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, described))
    ]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(openqueue, name)
    own = thing.__dict__.get("__doc__") if isinstance(thing, type) else inspect.getdoc(thing)
    assert own
    assert len(own) > 20


@pytest.mark.parametrize("name", [name for name in PUBLIC if isinstance(getattr(openqueue, name), type)])
def test_the_methods_of_a_public_class_are_documented(name: str) -> None:
    kind = getattr(openqueue, name)
    assert [method for method in own_methods(kind) if not inspect.getdoc(getattr(kind, method))] == []


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "task"])
def test_what_a_public_name_takes_and_gives_is_annotated(name: str) -> None:
    """`task` is overloaded for type checkers only; tests/types has what they must make of it."""
    thing = getattr(openqueue, name)
    functions = (
        [getattr(thing, method) for method in own_methods(thing)] if isinstance(thing, type) else [thing]
    )
    for function in filter(inspect.isroutine, functions):
        signature = inspect.signature(function)
        parameters = [one for one in signature.parameters.values() if one.name not in {"self", "cls"}]
        assert [one.name for one in parameters if one.annotation is one.empty] == [], function
        assert signature.return_annotation is not signature.empty, function


def test_the_public_names_are_sorted_and_unique() -> None:
    assert list(openqueue.__all__) == sorted(set(openqueue.__all__))


def test_the_changelog_speaks_of_this_version() -> None:
    released = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == PROJECT["version"]


def test_the_installed_version_is_this_one() -> None:
    try:
        installed = version("openqueue")
    except PackageNotFoundError:
        pytest.skip("openqueue is not installed here: it is only on the path")
    assert installed == PROJECT["version"] == openqueue.__version__
