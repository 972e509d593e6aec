"""What a migration came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from requant.store import State


@dataclass(frozen=True)
class MigrationReport:
    """What a migration came to; `recall_before` is that of the index that was in use.

    It is None where that could not be asked.
    Recall is counted at `k`, over `queries` vectors `queries_from` "stored vectors" or "given".
    """

    name: str
    state: State
    items: int
    k: int
    queries: int
    queries_from: str
    recall_before: float | None
    recall_after: float
    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with the new index."""
        return not self.problems


@dataclass(frozen=True)
class MigrationInfo:
    """One migration: from which index to which, how it stands, and what its shadow has seen.

    `parity` is the share of the results of the index in use that the new one found as well, over
    `compared` results; None before the first.
    """

    name: str
    source: str | None
    state: State
    shadow: float
    compared: int
    parity: float | None
