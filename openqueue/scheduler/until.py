"""Moments to come, as people say them: a time, or how long from now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from openqueue.durations import parse_duration
from openqueue.errors import InvalidOption
from openqueue.tasks.checks import check_moment

__all__ = ["to_come"]


def to_come(value: Any, option: str) -> datetime | timedelta:
    """An aware datetime or its ISO 8601 text; or how long from now, which the database's clock decides.

    Raises InvalidOption.
    """
    if isinstance(value, datetime):
        return check_moment(value, option)
    try:
        return parse_duration(value, field=option, allow_zero=False)
    except InvalidOption as error:
        if not isinstance(value, str) or "is not a duration" not in str(error):
            raise
    return check_moment(value, option)
