"""The front door: public names, imported when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import openqueue


def test_everything_public_says_where_it_lives_or_is_an_error() -> None:
    from openqueue import errors

    for name in openqueue.__all__:
        assert name == "__version__" or name in openqueue._HOME or name in errors.__all__


def test_every_error_is_public() -> None:
    from openqueue import errors

    kinds = {name for name in errors.__all__ if name[0].isupper()}
    assert kinds <= set(openqueue.__all__)


def test_what_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'openqueue' has no attribute 'tsak'"):
        openqueue.tsak  # noqa: B018


def test_opening_the_door_imports_nothing_heavy() -> None:
    code = (
        "import sys, openqueue; print(*(m for m in ('pydantic', 'asyncpg', 'asyncio') if m in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_who_only_enqueues_imports_nothing_of_a_worker() -> None:
    code = "import sys, openqueue; openqueue.connect; print(*(m for m in sys.modules if '.worker' in m))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_no_driver_is_imported_that_the_caller_does_not_use() -> None:
    code = (
        "import sys, openqueue.app, openqueue.db.connections as c\n"
        "class Session: pass\n"
        "Session.__module__ = 'sqlalchemy.orm.session'\n"
        "c.adapt(Session())\n"
        "print(*(m for m in ('psycopg', 'psycopg2', 'sqlalchemy', 'django') if m in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
