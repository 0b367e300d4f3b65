"""`manage.py openqueue …`: the command line of openqueue, with the settings of the project."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

__all__ = ["Command"]


class Command(BaseCommand):
    """Everything behind `openqueue` is the command line's: `manage.py openqueue worker --concurrency 20`."""

    help = "The command line of openqueue, with this project's database and tasks: worker, migrate, runs …"
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Hand the arguments on as they are; options of Django's own are not taken."""
        self._call(argv[2:])

    def add_arguments(self, parser: CommandParser) -> None:
        """For `call_command("openqueue", "migrate", "--check")`."""
        parser.add_argument("arguments", nargs="*")

    def handle(self, *args: str, **options: Any) -> None:
        self._call([*args, *options.get("arguments", ())])

    def _call(self, arguments: list[str]) -> None:
        from openqueue.cli.main import main

        if arguments[:1] == ["dev"]:
            raise CommandError(
                "`dev` starts processes that know no Django. Use `manage.py openqueue worker`."
            )
        main(arguments)
