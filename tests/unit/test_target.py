"""The database's URL: read once, understood as libpq does, and never shown with its password."""

import pytest

from openqueue.db.target import Target
from openqueue.errors import ConfigError

SECRET = "t0p"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGTARGETSESSIONATTRS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("dsn", "place"),
    [
        ("postgresql://me:t0p@db.example:6432/shop", "database 'shop' on db.example:6432 as user 'me'"),
        ("postgres://me@db/shop", "database 'shop' on db:5432 as user 'me'"),
        (" postgresql://me@db\n", "database 'me' on db:5432 as user 'me'"),
        ("postgresql://me@[::1]:6000/shop", "database 'shop' on [::1]:6000 as user 'me'"),
        ("postgresql://me@[::1]/shop", "database 'shop' on [::1]:5432 as user 'me'"),
        (
            "postgresql://me@/shop?host=/run/pg&port=77",
            "database 'shop' on socket /run/pg (port 77) as user 'me'",
        ),
        (
            "postgresql:///shop?host=/run/pg&user=me",
            "database 'shop' on socket /run/pg (port 5432) as user 'me'",
        ),
        ("postgresql://me@%2Frun%2Fpg/shop", "database 'shop' on socket /run/pg (port 5432) as user 'me'"),
        ("postgresql://me@a:1,b/shop", "database 'shop' on a:1, b:5432 as user 'me'"),
        ("postgresql://m%40e:t0p%2F%40@db/my%20shop", "database 'my shop' on db:5432 as user 'm@e'"),
        ("postgresql:///?dbname=shop&user=me&host=a,b&port=1,2", "database 'shop' on a:1, b:2 as user 'me'"),
    ],
)
def test_a_url_says_where_the_database_is(dsn: str, place: str) -> None:
    assert str(Target.of(dsn).place) == place
    assert SECRET not in repr(Target.of(dsn))


def test_the_environment_fills_in_what_the_url_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGHOST": "h", "PGPORT": "7", "PGUSER": "u", "PGDATABASE": "d"}.items():
        monkeypatch.setenv(name, value)
    assert str(Target.of("postgresql://").place) == "database 'd' on h:7 as user 'u'"


@pytest.mark.parametrize(
    ("dsn", "problem"),
    [
        ("", "not a postgresql:// URL"),
        ("shop", "not a postgresql:// URL"),
        ("host=db password=t0p", "not a postgresql:// URL"),
        ("mysql://me:t0p@db/shop", "begins with 'mysql://'"),
        ("postgresql+asyncpg://me:t0p@db/shop", r"begins with 'postgresql\+asyncpg://'"),
        ("postgresql://me:t0p@x@db/shop", "'@' .* not encoded"),
        ("postgresql://me:a/t0p@db/shop", "'/' .* not encoded"),
        ("postgresql://me:a#t0p@db/shop", "'#' .* not encoded"),
        ("postgresql://me:t0p@db:port/shop", "port that is not a number"),
        ("postgresql://me:t0p@db:70000/shop", "port that is not a number"),
        ("postgresql://me:t0p@[::1/shop", "cannot be read"),
        ("postgresql://me:t0p@db/shop?x", "cannot be read"),
        ("postgresql://me:t0p@db/shop?channel_binding=require", "channel_binding"),
        ("postgresql://me:t0p@db/shop?connect_timeout=soon", "connect_timeout"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(dsn: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^database_url .*{problem}") as caught:
        Target.of(dsn)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_parameters_for_libpq_alone_do_not_reach_the_server() -> None:
    target = Target.of(
        "postgresql://me@db/shop?keepalives=1&gssencmode=disable&connect_timeout=3&sslmode=require"
    )
    assert target.dsn == "postgresql://me@db/shop?sslmode=require"
    assert target.timeout == 3


def test_of_several_hosts_the_writable_one_is_meant_unless_the_url_says_otherwise() -> None:
    assert Target.of("postgresql://me@a,b/shop").arguments("x")["target_session_attrs"] == "read-write"
    assert Target.of("postgresql://me@a/shop").session is None
    assert Target.of("postgresql://me@a,b/shop?target_session_attrs=any").session is None


def test_the_only_setting_sent_is_the_name_and_the_urls_name_wins() -> None:
    assert Target.of("postgresql://me@a/shop").arguments("worker")["server_settings"] == {
        "application_name": "worker"
    }
    named = Target.of("postgresql://me@a/shop?application_name=shop").arguments("worker")
    assert named["server_settings"] == {}
