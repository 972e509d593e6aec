"""What a verification looked at, and what it found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

# A report names this many culprits and counts the rest.
_NAMED = 5


@dataclass
class Report:
    """What `verify` looked at, in words, and what it found wrong."""

    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def say(report: Report, what: str, culprits: Iterable[int]) -> None:
    """Report `what` is wrong with these keys, if there are any."""
    named = list(culprits)
    if named:
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        some = ", ".join(str(key) for key in named[:_NAMED])
        report.problems.append(f"{len(named)} {what} {some}{more}")
