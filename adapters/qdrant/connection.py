"""What the backend needs of either library of Qdrant: the thin line between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from requant.adapters.locks import Sharing
from requant.adapters.qdrant.codec import Vectors

Chunk = tuple[list[int], Vectors]


@dataclass(frozen=True)
class Wish:
    """How to search: every vector itself or Qdrant's way, with which effort, among which keys."""

    exact: bool = False
    effort: int | None = None
    among: list[int] | None = None


@dataclass(frozen=True)
class Limits:
    """How much one request may hold: points to write, queries, and keys in a filter."""

    points: int = 1 << 19
    queries: int = 256
    keys: int = 100_000


class Connection(Protocol):
    """An open index. Points have `.id` and `.score`, records `.id` and `.vector`.

    `sharing`: whether calls may overlap: "none", "readers" (beside each other), "all".
    `alone`: nobody else writes to it. `optimizes`: `optimize` does something.
    """

    sharing: Sharing
    alone: bool
    optimizes: bool
    limits: Limits

    def upsert(self, chunks: Iterator[Chunk]) -> None:
        """Store vectors under keys; what it returns from is accepted."""

    def delete(self, keys: list[int]) -> None:
        """Remove keys."""

    def held(self, keys: list[int]) -> int:
        """Return how many of `keys` there are."""

    def vectors(self, keys: list[int]) -> Sequence[Any]:
        """Return the records of those of `keys` that there are."""

    def search(self, vectors: Vectors, k: int, wish: Wish) -> list[Sequence[Any]]:
        """Return the points nearest to each vector, best first."""

    def scroll(self, start: int | None, limit: int) -> tuple[Sequence[Any], int | None]:
        """Return records by ascending key, and where to go on."""

    def count(self) -> int:
        """Return the exact number of points."""

    def optimize(self) -> None:
        """Build what makes searches fast, if Qdrant does not by itself."""

    def flush(self) -> None:
        """Make everything accepted durable."""

    def note(self, text: str) -> None:
        """Replace the text that is kept with the points."""

    def noted(self) -> str | None:
        """Return the text that is kept with the points, None without one."""

    def close(self) -> None:
        """Let go of it."""
