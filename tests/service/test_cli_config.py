"""`openqueue config`: what is in force, and from where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.cli.config import without_password
from openqueue.settings import Settings
from tests.support.command import Command

URL = "postgresql://app:hunter2@db.example:5432/shop"


def found(bare: Command, *flags: str) -> dict[str, tuple[object, str, str | None]]:
    told = bare("config", "--json", *flags).json
    return {one["key"]: (one["value"], one["source"], one["place"]) for one in told}


def test_every_setting_is_there_and_without_any_place_it_is_the_default(bare: Command) -> None:
    told = found(bare)
    assert list(told) == [field.alias or name for name, field in Settings.model_fields.items()]
    assert {source for _, source, _ in told.values()} == {"default"}
    assert told["grace"] == (30.0, "default", None)


def test_each_value_has_the_place_where_it_stands(bare: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare.project / "openqueue.toml").write_text('\ngrace = "5s"\nthreads = 3\n')
    (bare.project / "pyproject.toml").write_text("[tool.openqueue]\nthreads = 4\nlog_level = 'debug'\n")
    (bare.project / "secrets").mkdir()
    (bare.project / "secrets" / "name").write_text("mary\n")
    monkeypatch.setenv("OPENQUEUE_SECRETS_DIR", "secrets")
    monkeypatch.setenv("OPENQUEUE_CONCURRENCY", "7")
    monkeypatch.setenv("OPENQUEUE_NAMESPACE", "of the environment")
    told = found(bare, "--namespace", "of the flag")
    assert told["namespace"] == ("of the flag", "flag", "--namespace")
    assert told["concurrency"] == (7, "environment", "OPENQUEUE_CONCURRENCY")
    assert told["name"] == ("mary", "secret", "secrets/name")
    assert told["grace"] == (5.0, "file", "openqueue.toml, line 2")
    assert told["threads"] == (3, "file", "openqueue.toml, line 3")
    assert told["log_level"] == ("debug", "file", "pyproject.toml, line 3 [tool.openqueue]")


@pytest.mark.parametrize("name", ["OPENQUEUE_DATABASE_URL", "OPENQUEUE_LISTEN_DSN"])
@pytest.mark.parametrize("url", [URL, "postgresql://db/shop?user=app&password=hunter2&sslmode=require"])
def test_a_password_is_shown_nowhere(
    bare: Command, monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)
    for answer in (bare("config"), bare("config", "--json")):
        assert "hunter2" not in answer.out + answer.err
        assert "***" in answer.out
        assert "shop" in answer.out


@given(st.text(min_size=4).filter(lambda text: text.strip("*") == text), st.booleans())
def test_no_password_survives_whatever_it_is(password: str, in_query: bool) -> None:
    secret = f"\x01{password}\x01".replace("&", "")
    url = f"postgresql://h/x?sslpassword={secret}" if in_query else f"postgresql://app:{secret}@host/x"
    assert secret not in without_password(url)


def test_a_setting_that_is_refused_ends_with_3_and_the_place(
    bare: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENQUEUE_GRACE", "soon")
    answer = bare("config")
    assert answer.code == 3
    assert answer.err.startswith("Error: OPENQUEUE_GRACE: grace: 'soon' is not a duration.")
