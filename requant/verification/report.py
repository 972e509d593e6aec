"""What a verification looked at, and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """What `verify` looked at, in words, and what it found wrong."""

    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems
