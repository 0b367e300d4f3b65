"""The Django application: what happens when a project starts that has it installed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules, module_has_submodule

from openqueue.django.connections import in_order
from openqueue.django.database import database_alias, project_settings
from openqueue.settings import load_settings, set_program_settings
from openqueue.tasks.surrounding import prepare_with, set_around

__all__ = ["OpenQueueConfig", "task_modules"]


class OpenQueueConfig(AppConfig):
    """`openqueue.django`. Names of tasks are those of their modules: `shop.tasks.send_mail`."""

    name = "openqueue.django"
    label = "openqueue"
    verbose_name = "openqueue"

    def ready(self) -> None:
        """Import the `tasks` modules, and say where settings come from; no connection is made."""
        set_program_settings("OPENQUEUE in settings.py", _settings)
        set_around(in_order)
        prepare_with("django", "setup")
        autodiscover_modules("tasks")
        post_migrate.connect(migrate_schema, sender=self)


def _settings() -> dict[str, Any]:
    return {"modules": task_modules(), **project_settings()}


def task_modules() -> list[str]:
    """The `tasks` modules of the installed applications that have one."""
    return [
        f"{one.name}.tasks"
        for one in apps.get_app_configs()
        if one.module is not None and module_has_submodule(one.module, "tasks")
    ]


def migrate_schema(using: str, **_more: Any) -> None:
    """After `manage.py migrate` of the database that openqueue is in: bring its schema up to date, too."""
    from django.db import connections

    from openqueue.db.migrations import migrate

    found = load_settings()
    if found.database_url is None or using != database_alias() or connections[using].vendor != "postgresql":
        return
    url = found.database_url.get_secret_value()
    if url != project_settings().get("database_url"):
        return  # openqueue works elsewhere: where a variable or a file says
    with ThreadPoolExecutor(1) as thread:  # an event loop may run in this one
        thread.submit(lambda: asyncio.run(migrate(url, found.schema_name))).result()
