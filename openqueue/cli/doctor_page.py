"""What the doctor prints."""

from __future__ import annotations

from collections import Counter
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from openqueue.cli.output import Column, console, show_json, show_table
from openqueue.redaction import masked_text, printable

if TYPE_CHECKING:
    from rich.console import Console

    from openqueue.doctor.findings import Examination, Finding, Report

__all__ = ["print_checks", "show_examination"]

_STYLE = {"critical": "bold red", "warning": "yellow", "notice": "cyan", "well": "green", "skipped": "dim"}
_MARK = {"critical": "✗", "warning": "!", "notice": "i", "well": "✓", "skipped": "-"}
_WIDEST = 110
_MOST = 10
"""Findings of one check that are shown."""


def print_checks(*, as_json: bool) -> None:
    """The checks there are."""
    from openqueue.doctor.checks import CHECKS, REACHING

    found = [*REACHING.items(), *((one.name, one.about) for one in CHECKS)]
    if as_json:
        show_json([{"check": name, "about": about} for name, about in found])
        return
    columns: tuple[Column[tuple[str, str]], ...] = (
        Column("CHECK", lambda one: one[0]),
        Column("LOOKS AT", lambda one: one[1], least=20, rank=1),
    )
    show_table(found, columns, empty="")


def show_examination(found: Examination, *, as_json: bool, verbose: bool) -> None:
    """Findings, the worst first, and the checks; all of it for programs."""
    if as_json:
        show_json(_document(found))
        return
    page = console()
    if verbose:
        for report in found.reports:
            _print_check(page, report)
    shown: Counter[str] = Counter()
    for check, finding in found.findings():
        shown[check] += 1
        if shown[check] <= _MOST:
            if shown.total() > 1 or verbose:
                page.print()
            _print_finding(page, check, finding)
    for check, number in shown.items():
        if number > _MOST:
            page.print(f"\n  {number - _MOST} more of {check}: openqueue doctor --only {check} --json")
    if shown:
        page.print()
    page.print(_sum(found))


def _print_check(page: Console, report: Report) -> None:
    from rich.text import Text

    line = Text(f"{_MARK[report.state]} ", style=_STYLE[report.state])
    line.append(f"{report.check:<16}", style="bold")
    line.append(printable(masked_text(report.said)), style="dim" if report.skipped else "")
    page.print(line, overflow="fold")


def _print_finding(page: Console, check: str, one: Finding) -> None:
    from rich.text import Text

    word = one.severity.word
    title = Text(f"{_MARK[word]} {word}", style=_STYLE[word])
    title.append(f"  {check}", style="bold")
    page.print(title)
    for text, style in ((masked_text(one.what), ""), (one.why, "dim")):
        for line in _lines(page, printable(text)):
            page.print(Text(f"  {line}", style=style))
    for line in one.mend:
        command, remark, more = printable(line).partition("#")
        shown = Text(f"  $ {command.rstrip()}" if command.strip() else "   ", style="")
        shown.append(f"{'   ' if command.strip() else ' '}{remark}{more}" if remark else "", style="dim")
        page.print(shown, overflow="fold")


def _lines(page: Console, text: str) -> list[str]:
    """The text as wide as is good to read on a terminal; elsewhere in one line."""
    if not page.is_terminal:
        return [text]
    return wrap(text, max(20, min(page.width, _WIDEST) - 2), break_long_words=False, break_on_hyphens=False)


def _sum(found: Examination) -> str:
    looked = [one for one in found.reports if not one.skipped]
    skipped = len(found.reports) - len(looked)
    checks = f"{len(looked)} check{'' if len(looked) == 1 else 's'}"
    counts = dict.fromkeys(("critical", "warning", "notice"), 0)
    for _, one in found.findings():
        counts[one.severity.word] += 1
    said = [f"{number} {_plural(word, number)}" for word, number in counts.items() if number]
    left = f", {skipped} could not be made" if skipped else ""
    return f"{checks}{left}: {', '.join(said) or 'all is well'}"


def _plural(word: str, number: int) -> str:
    return word if number == 1 or word == "critical" else f"{word}s"


def _document(found: Examination) -> dict[str, Any]:
    return {
        "worst": found.worst.word if found.worst is not None else None,
        "findings": [
            {
                "check": check,
                "severity": one.severity.word,
                "what": masked_text(one.what),
                "why": one.why,
                "mend": list(one.mend),
                "details": dict(one.details),
            }
            for check, one in found.findings()
        ],
        "checks": [
            {"check": one.check, "state": one.state, "said": masked_text(one.said)} for one in found.reports
        ],
    }
