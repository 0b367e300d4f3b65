"""What the doctor says: findings, each with its severity, and what became of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

__all__ = ["Examination", "Finding", "Judgement", "Report", "Row", "Rows", "Severity"]

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]
"""What a check's queries answered, by their names."""


class Severity(IntEnum):
    """How bad it is.

    NOTICE     worth to know; nothing suffers
    WARNING    it will hurt, or hurts a little
    CRITICAL   work stands still, or can be lost
    """

    NOTICE = 1
    WARNING = 2
    CRITICAL = 3

    @property
    def word(self) -> str:
        """As it is shown."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    what      what was found, with its numbers
    why       what comes of it
    mend      what to do: commands, one a line, a remark after `#`
    details   the same in values, for programs
    """

    severity: Severity
    what: str
    why: str
    mend: tuple[str, ...]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a check makes of what was read: `said` is what was seen, in a few words, also if all is well."""

    said: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a check; `skipped` says why it could not look."""

    check: str
    said: str
    findings: tuple[Finding, ...] = ()
    skipped: bool = False

    @property
    def state(self) -> Literal["well", "notice", "warning", "critical", "skipped"]:
        """The worst of its findings, in a word."""
        if self.findings:
            worst: Any = max(one.severity for one in self.findings).word
            return worst  # type: ignore[no-any-return]  # one of the words above
        return "skipped" if self.skipped else "well"


@dataclass(frozen=True, slots=True)
class Examination:
    """All reports, in the order of the checks."""

    reports: tuple[Report, ...]

    @property
    def worst(self) -> Severity | None:
        """The severity of the worst finding; None where all is well."""
        return max((one.severity for report in self.reports for one in report.findings), default=None)

    def findings(self) -> list[tuple[str, Finding]]:
        """All findings with their checks, the worst first."""
        found = [(report.check, one) for report in self.reports for one in report.findings]
        return sorted(found, key=lambda pair: -pair[1].severity)
