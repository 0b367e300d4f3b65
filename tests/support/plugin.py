"""Whether a pytest that is started here finds our plugin by itself."""

from __future__ import annotations

from importlib.metadata import entry_points

__all__ = ["plugin_options"]


def plugin_options() -> str:
    """What to give to it (PYTEST_ADDOPTS): the plugin by name, unless this version is installed."""
    installed = any(one.value == "openqueue.pytest_plugin" for one in entry_points(group="pytest11"))
    return "-p no:cacheprovider" + ("" if installed else " -p openqueue.pytest_plugin")
