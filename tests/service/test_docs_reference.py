"""The reference pages are what the code says today."""

from __future__ import annotations

import pytest

from tests.support import reference

STALE = "docs/reference is stale: run `make reference`"


@pytest.mark.parametrize("name", ["python", "settings", "exits"])
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    page = (reference.DIRECTORY / f"{name}.md").read_text()
    assert page == getattr(reference, name)(), STALE


def test_the_reference_of_sql_is_what_the_schema_says_of_itself(dsn: str) -> None:
    assert (reference.DIRECTORY / "sql.md").read_text() == reference.sql(dsn), STALE


def test_every_reference_page_is_checked() -> None:
    assert {path.stem for path in reference.DIRECTORY.glob("*.md")} == set(reference.PAGES)
