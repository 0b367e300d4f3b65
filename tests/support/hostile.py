"""Text and values that somebody might give who means no good, or does not know better."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

__all__ = ["FEW", "NAMES", "VALUES", "names_field"]

FEW = settings(max_examples=30, suppress_health_check=list(HealthCheck))
"""For what asks a database each time."""

_PIECES = (
    *(
        "'",
        '"',
        "''",
        '""',
        ";",
        "--",
        "/*",
        "*/",
        "$$",
        "$body$",
        "\\",
        "\\'",
        "E'",
        'U&"',
        "%I",
        "%s",
        "%L",
    ),
    *("{}", "{0}", ":schema", ":'schema'", "$1", "\n", "\r", "\t", " ", ".", "pg_", "public", "NULL", "*"),
    *(
        "DROP TABLE openqueue.jobs",
        "ü",
        "日本",
        "\u202e",
        "\u0301",
        "\U0001f600",
        "\u0130",
        "a",
        "A",
        "x" * 30,
    ),
)

NAMES = st.lists(st.sampled_from(_PIECES), max_size=9).map("".join) | st.text(max_size=80)
"""What stands between quotes somewhere."""

_LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 2**64, 10**400, float("nan"), float("inf"), -0.0, 1e308])
    | st.floats()
    | NAMES
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["\0", "a\0b", "\ud800", "\udfff\ud800", "\x7f"])
    | st.just(100_000).map("x".__mul__)
    | st.binary(max_size=20)
    | st.builds(object)
    | st.sampled_from([datetime(2026, 1, 1), timedelta(-1), timedelta.max, ..., int, len])  # noqa: DTZ001
    | st.sampled_from([datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)])
)


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": [value]}
    return value


VALUES: st.SearchStrategy[Any] = (
    _LEAVES
    | st.lists(_LEAVES, max_size=3)
    | st.dictionaries(NAMES, _LEAVES, max_size=3)
    | st.dictionaries(st.integers() | st.none() | st.binary(max_size=3), _LEAVES, max_size=2)
    | st.sets(st.integers() | NAMES, max_size=3)
    | st.sampled_from([100, 127, 200, 2_000]).map(_deep)
)
"""What an argument, an option or a setting may be given."""


def names_field(error: Exception, *fields: str) -> None:
    """That an error says which field is at fault."""
    said = str(error).lower()
    assert any(field.removesuffix("_name") in said for field in fields), said
