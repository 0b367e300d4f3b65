"""The errors: one base, two levels, details that survive a process border."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from openqueue import errors
from openqueue.errors import OpenQueueError, did_you_mean

CLASSES = [getattr(errors, name) for name in errors.__all__ if name[0].isupper() and name != "OpenQueueError"]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_a_direct_child_of_the_base(kind: Any) -> None:
    assert OpenQueueError in kind.__bases__


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_says_what_it_means(kind: Any) -> None:
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_pickling_with_its_details(kind: Any) -> None:
    error = kind("what happened")
    for name in vars(error):
        setattr(error, name, "detail")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == "what happened"
    assert vars(copy) == vars(error)


def test_a_near_word_is_offered() -> None:
    assert did_you_mean("quee", ["queue", "priority"]) == " Did you mean 'queue'?"


def test_several_near_words_are_offered() -> None:
    assert did_you_mean("mail.sent", ["mail.send", "mail.send_all", "x"]).startswith(
        " Did you mean 'mail.send' or"
    )


def test_nothing_is_offered_when_no_word_is_near() -> None:
    assert did_you_mean("shop.sned", ["shop.send", "shop.slow"]) == " Did you mean 'shop.send'?"
    assert did_you_mean("zebra", ["queue", "priority"]) == ""
