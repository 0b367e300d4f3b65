"""One direction: a room imports what is below it, and nothing goes round in a circle."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import pytest

from tests.rules.source import Import, imports

# From the ground up (architecture.md, section 5). Rooms on one level may import each other only if the
# level says so: the five of the engine may not.
LEVELS: tuple[tuple[str, ...], ...] = (
    (
        *("errors", "events", "clock", "backoff", "codec", "durations", "forks", "rates", "redaction"),
        *("garbage", "lazy", "service"),
    ),
    ("db", "settings"),
    ("tasks",),
    ("control",),
    ("runs",),
    ("cluster",),
    ("worker", "scheduler", "workflows", "messages", "streams"),
    ("doctor", "telemetry", "alerts", "workbench"),
    ("clients",),
    ("app",),
    ("bench", "dev", "embedding", "fleet"),
    ("testing",),
    ("cli", "pytest_plugin"),
    ("django",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
WORDS = set(LEVELS[0])
EDGE = {"app", "bench", "cli", "clients", "dev", "django", "embedding", "fleet"} | {
    "pytest_plugin",
    "settings",
    "testing",
}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "openqueue"


def between_rooms() -> list[Import]:
    inner = (found for found in imports() if ":" not in found.imported)
    return [found for found in inner if room(found.importer) != room(found.imported)]


def test_every_room_has_its_level() -> None:
    rooms = {
        room(module)
        for found in imports()
        for module in (found.importer, found.imported)
        if ":" not in module
    }
    assert rooms - set(LEVEL) - {"openqueue"} == set()
    assert len(rooms) > 8


def test_no_room_imports_one_above_it() -> None:
    """Imports inside functions count, too: when they run is no excuse for where they point."""
    upwards = [
        found for found in between_rooms() if LEVEL[room(found.importer)] < LEVEL[room(found.imported)]
    ]
    assert [str(found) for found in upwards] == []


def test_rooms_of_one_level_do_not_import_each_other() -> None:
    level_with = [
        found
        for found in between_rooms()
        if LEVEL[room(found.importer)] == LEVEL[room(found.imported)] and room(found.importer) not in WORDS
    ]
    assert [str(found) for found in level_with] == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for found in imports():
        if found.at_load and ":" not in found.imported:
            graph.setdefault(found.importer, set()).add(found.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_nothing_inside_uses_the_front_door() -> None:
    """Except for the version, which is only there."""
    through = [
        found for found in imports() if ":" in found.imported and found.imported != "openqueue:__version__"
    ]
    assert [str(found) for found in through] == []


def test_settings_are_read_at_the_edge_only() -> None:
    inside = [found for found in between_rooms() if room(found.imported) == "settings"]
    assert inside
    assert [str(found) for found in inside if room(found.importer) not in EDGE] == []
