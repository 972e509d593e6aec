"""What an export is asked for, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from requant.collection import Collection

Format = Literal["parquet", "faiss", "usearch", "qdrant", "lancedb"]
FORMATS: tuple[Format, ...] = get_args(Format)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """An export; `notes` collects what could not be carried as it was."""

    collection: Collection
    target: str
    where: Mapping[str, Any] | None
    index_type: str
    overwrite: bool
    batch: int
    progress: Progress
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Written:
    """What a writer made: the place, how many items are in it, and their size.

    `without_vector` of the `rows` have no vector; `left_out` items are not in the target at all.
    `bytes` is None where only a server knows.
    """

    target: str
    rows: int
    without_vector: int
    bytes: int | None
    left_out: int = 0


def count(number: int, what: str, many: str | None = None) -> str:
    """Return a number with its noun.

    >>> count(1, "item"), count(2000, "item")
    ('1 item', '2,000 items')
    """
    return f"{number:,} {what if number == 1 else many or what + 's'}"
