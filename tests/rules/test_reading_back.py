"""What comes from the database is read as JSON and as nothing else."""

from __future__ import annotations

import ast

import pytest

from tests.rules.source import Module, modules

MODULES = modules()

BETWEEN_OUR_PROCESSES = {
    "openqueue.worker.processes.task_process",
    "openqueue.worker.processes.child",
    "openqueue.worker.processes.remote",
    "openqueue.fleet.link",
    "openqueue.fleet.process",
}
"""Who pickles, over a socket that one has made and the other has inherited (docs/security.md)."""

READERS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml", "ruamel", "xmlrpc"}


def imported(module: Module) -> set[str]:
    """The first parts of all that it imports."""
    found: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.name)
def test_nothing_is_read_back_that_could_run(module: Module) -> None:
    if module.name not in BETWEEN_OUR_PROCESSES:
        assert imported(module) & READERS == set()
    called = {
        node.func.id
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert called & {"eval", "exec", "compile", "__import__"} == set()


def test_those_who_pickle_reach_no_database() -> None:
    """So nothing of it can come to them but by their own processes."""
    who = [name for name in BETWEEN_OUR_PROCESSES if name in MODULES]
    assert {"openqueue.worker.processes.child", "openqueue.fleet.link"} <= set(who)
    assert [name for name in who if "asyncpg" in imported(MODULES[name])] == []
