"""The tasks a worker knows: by name, by alias, one for each."""

from __future__ import annotations

import gc
import sys
from types import ModuleType
from typing import Any

import pytest

from openqueue.errors import InvalidTask, UnknownTask
from openqueue.tasks.declared import declared
from openqueue.tasks.registry import Registry
from openqueue.tasks.task import task


@task(name="mail.send", aliases=["send", "mail.deliver"])
def send() -> None: ...


@task(name="mail.receive")
def receive() -> None: ...


def test_a_task_is_found_by_name_and_by_alias() -> None:
    registry = Registry([send, receive])
    assert registry.get("mail.send") is send
    assert registry.get("send") is send
    assert "mail.deliver" in registry
    assert "mail" not in registry
    assert len(registry) == 2


def test_names_are_in_order_with_and_without_aliases() -> None:
    registry = Registry([send, receive])
    assert registry.names == ("mail.receive", "mail.send")
    assert registry.every_name == ("mail.deliver", "mail.receive", "mail.send", "send")
    assert list(registry) == [receive, send]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownTask, match=r"'mail\.sent'\. Did you mean 'mail\.send'") as caught:
        Registry([send, receive]).get("mail.sent")
    assert caught.value.task == "mail.sent"


def test_an_unknown_name_like_no_other_is_refused_with_what_is_known() -> None:
    with pytest.raises(UnknownTask, match=r"Known here: mail\.receive, mail\.send"):
        Registry([send, receive]).get("zzz")
    with pytest.raises(UnknownTask, match="No task is known here"):
        Registry().get("zzz")


def test_two_tasks_of_one_name_are_refused_naming_both_places() -> None:
    @task(name="mail.send")
    def other() -> None: ...

    with pytest.raises(InvalidTask, match=r"two tasks are called 'mail\.send'") as caught:
        Registry([send, other])
    assert send.place in str(caught.value)
    assert other.place in str(caught.value)


def test_an_alias_must_be_free_too() -> None:
    @task(name="send")
    def by_name() -> None: ...

    @task(name="third", aliases=["mail.receive"])
    def by_alias() -> None: ...

    with pytest.raises(InvalidTask, match="two tasks are called 'send'"):
        Registry([send, by_name])
    with pytest.raises(InvalidTask, match=r"two tasks are called 'mail\.receive'"):
        Registry([receive, by_alias])


def test_the_same_function_of_the_same_file_may_come_twice() -> None:
    def declare() -> Any:
        @task(name="twice")
        def twice() -> None: ...

        return twice

    first, second = declare(), declare()
    registry = Registry([first, second])
    assert registry.get("twice") is first
    assert len(registry) == 1


def test_a_module_s_tasks_are_those_it_declares_and_those_it_imported(monkeypatch: Any) -> None:
    module: Any = ModuleType("some_module")
    exec("from openqueue import task\n@task(name='own')\ndef own() -> None: ...", vars(module))
    module.imported = send
    monkeypatch.setitem(sys.modules, "some_module", module)
    assert Registry.collect(["some_module"]).names == ("mail.send", "own")


def test_a_task_that_nothing_holds_is_forgotten() -> None:
    def declare() -> None:
        @task(name="short-lived")
        def gone() -> None: ...

    declare()
    gc.collect()
    assert "short-lived" not in {one.name for one in declared()}
