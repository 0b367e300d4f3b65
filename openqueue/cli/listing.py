"""Groups of commands that list something when they are called without one: `openqueue queues`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["Listing", "ListingByName"]


class Listing(TyperGroup):
    """`queues` and `queues --json` are `queues list` and `queues list --json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command where none was written."""
        if not ctx.resilient_parsing and self._lists(args, {*ctx.help_option_names, "-h"}):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def _lists(self, args: list[str], helps: set[str]) -> bool:
        return not args or (args[0].startswith("-") and args[0] not in helps)


class ListingByName(Listing):
    """The same where the list takes the beginning of a name: `tasks mail.` is `tasks list mail.`."""

    def _lists(self, args: list[str], helps: set[str]) -> bool:
        if super()._lists(args, helps):
            return True
        return args[0] not in self.commands and (len(args) == 1 or args[1].startswith("-"))

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """The commands, and the names that the list takes."""
        listing = self.commands["list"]
        below = listing.make_context("list", [], parent=ctx, resilient_parsing=True)
        (names,) = [one for one in listing.params if one.param_type_name == "argument"]
        found = [] if incomplete.startswith("-") else names.shell_complete(below, incomplete)
        return [*super().shell_complete(ctx, incomplete), *found]
