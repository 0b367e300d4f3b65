"""Whether a failed attempt is followed by another, and after how long. Pure.

In this order: no retry when the attempts are used up; nor after `GiveUp`, after `Cancelled`, or when the
run's stored input does not fit the task (the same input cannot come to fit; a run caught by a deploy is
retried by hand, or with `openqueue runs retry`); nor for what `give_up_on` lists. Then `retry_on`, when
it lists anything, lists all that is retried. Otherwise every exception is, a timeout too.

InvalidArguments from *inside* the task, such as an enqueue of its own, is an exception like any other.
"""

from __future__ import annotations

from datetime import timedelta
from random import random as uniform

from openqueue.backoff import Exponential, Random
from openqueue.errors import InvalidArguments
from openqueue.tasks.control import Cancelled, GiveUp
from openqueue.tasks.options import TaskOptions

__all__ = ["may_retry", "retry_delay"]

_DEFAULT = Exponential()


def retry_delay(
    options: TaskOptions,
    attempt: int,
    error: BaseException,
    *,
    max_attempts: int | None = None,
    random: Random = uniform,
) -> timedelta | None:
    """The wait until the attempt after number `attempt` (the first is 1), or None: there is none.

    `max_attempts` is the run's own, where the enqueue gave one. A backoff function that fails, or
    returns no duration, is noted on the error, and the default backoff takes its place.
    """
    limit = options.max_attempts if max_attempts is None else max_attempts
    if attempt >= limit or not may_retry(options, error):
        return None
    try:
        return options.backoff.delay(attempt, error, random)
    except Exception as failure:  # noqa: BLE001  the user's function must not stop the worker
        error.add_note(f"the task's backoff failed ({failure!r}): the default one was used")
        return _DEFAULT.delay(attempt, error, random)


def may_retry(options: TaskOptions, error: BaseException) -> bool:
    """Whether this error may be retried at all, attempts aside."""
    if isinstance(error, (GiveUp, Cancelled, *options.give_up_on)):
        return False
    if isinstance(error, InvalidArguments) and error.stored:
        return False
    return not options.retry_on or isinstance(error, options.retry_on)
