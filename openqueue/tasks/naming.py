"""What a task is called: `module.function`, the same in every process.

The module is the one discovery finds: a file below a task directory is named by its path from there,
so `send_mail` in `tasks/mail.py` is `mail.send_mail`, also where the application imports the file as
`tasks.mail`. Anything else goes by its import name. The name is stored with every run, for ever; who
moves a file keeps the old name with `name=` or `aliases=`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = ["Roots", "module_name", "roots", "set_roots", "source_file", "task_name"]

Roots = tuple[Path, ...]

_roots: Roots = (Path("tasks"),)


def roots() -> Roots:
    """The task directories, as configured; a change makes a new tuple."""
    return _roots


def set_roots(dirs: Iterable[str | PathLike[str]]) -> Roots:
    """Name the tasks below these directories by their path from there; returns the ones before."""
    global _roots  # noqa: PLW0603  process-wide is what it is for
    before, after = _roots, tuple(Path(one) for one in dirs)
    if after != before:
        _roots = after
    return before


def task_name(function: Callable[..., Any]) -> str:
    """The name of a task made from this function, when it has none of its own."""
    qualified = function.__qualname__.replace("<locals>.", "")
    module = _module_of(function)
    return f"{module}.{qualified}" if module else qualified


def module_name(file: Path, root: Path) -> str:
    """A file's module as seen from a task directory: dots for slashes, `__init__` is its folder."""
    parts = list(file.relative_to(root).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts) or root.resolve().name


def source_file(function: Callable[..., Any]) -> str:
    """The file a function was written in."""
    code = getattr(function, "__code__", None)
    return code.co_filename if code is not None else ""


def _module_of(function: Callable[..., Any]) -> str:
    file = Path(source_file(function))
    for root in _roots:
        absolute = root.resolve()
        if file.suffix == ".py" and file.resolve().is_relative_to(absolute):
            return module_name(file.resolve(), absolute)
    return _below_a_root(_import_name(function.__module__))


def _below_a_root(module: str) -> str:
    """Strip a task directory from an import name, for an application started in another directory."""
    for root in _roots:
        prefix = ".".join(root.parts) + "."
        if not root.is_absolute() and module.startswith(prefix):
            return module.removeprefix(prefix)
    return module


def _import_name(module: str) -> str:
    """The name a worker would import a module by: for `__main__`, that of the script or `-m` module."""
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None) or "<"
    return module if file.startswith("<") else Path(file).stem
