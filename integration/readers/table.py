"""The contract of a reader: named columns, read a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from requant.tables import RowError


@dataclass(frozen=True)
class Vectors:
    """The vectors of a chunk: `floats (m, d)` of any real dtype, for the m rows that have one.

    `present (n,) bool` tells which of the n rows these are; None stands for all of them.
    """

    floats: NDArray[Any]
    present: NDArray[np.bool_] | None = None


class Chunk(Protocol):
    """Consecutive rows of a table."""

    @property
    def first(self) -> int:
        """The number of the first row, from 0."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def values(self, column: str) -> list[Any]:
        """Return a column as Python values, None where there is nothing."""
        ...

    def vectors(self, column: str, dim: int | None) -> Vectors:
        """Return a column as vectors of `dim` dimensions, of equal width if `dim` is None.

        Raises RowError, naming the first row that is something else.
        """
        ...

    def records(self, columns: Sequence[str] | None, without: Collection[str]) -> list[Any]:
        """Return a dict a row of `columns`; None stands for all columns but those in `without`."""
        ...

    def place(self, row: int, what: str) -> str:
        """Name the file and the row, for a message about `what` ("vectors", "ids"...)."""
        ...


class Table(Protocol):
    """A file: `columns` are its names in order, `rows` its length where that costs nothing.

    `vector_like` are the columns that may hold vectors.
    """

    path: Path
    columns: list[str]
    vector_like: list[str]
    rows: int | None

    def chunks(self, size: int, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yield the rows from the start, at most `size` at a time.

        `columns` are all it need read, the vectors' first if they are wanted.
        """
        ...

    def share(self) -> float | None:
        """Return how much of the file the running `chunks` has read, 0 to 1, if it knows."""
        ...


def stack(values: Sequence[Any], dim: int | None) -> Vectors:
    """Return lists of numbers, or None, as vectors; raises RowError.

    >>> stack([[1.0, 2.0], None], 2).present.tolist()
    [True, False]
    """
    present = np.array([value is not None for value in values], bool)
    rows = [value for value in values if value is not None]
    if not rows:
        return Vectors(np.empty((0, dim or 0), np.float32), present)
    try:
        array = np.array(rows)
    except (ValueError, OverflowError):
        array = np.empty(0, object)
    width = dim or (array.shape[1] if array.ndim == 2 else None)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or array.shape[1] != width:
        raise _culprit(values, dim)
    return Vectors(array, None if present.all() else present)


def _culprit(values: Sequence[Any], dim: int | None) -> RowError:
    for row, value in enumerate(values):
        if value is None:
            continue
        if not isinstance(value, list) or not value:
            return RowError(row, f"the vector is {_shown(value)}, not a list of numbers")
        odd = next((x for x in value if isinstance(x, bool) or not isinstance(x, int | float)), 0)
        if odd != 0:
            return RowError(row, f"the vector holds {_shown(odd)}, which is not a number")
        if len(value) != (dim := dim or len(value)):
            return RowError(row, f"the vector has {len(value)} dimensions, expected {dim}")
    return RowError(0, "the vectors hold integers that no float can")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def plain(value: Any) -> Any:
    """Return a column's value as JSON has it: dates and UUIDs become text, maps become dicts.

    >>> plain({"day": date(2024, 2, 29), "sizes": [("s", 1), ("m", 2)]})
    {'day': '2024-02-29', 'sizes': {'s': 1, 'm': 2}}
    """
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        # Arrow hands out a map as a list of pairs, and makes tuples of nothing else.
        if value and all(isinstance(pair, tuple) and isinstance(pair[0], str) for pair in value):
            return {key: plain(inner) for key, inner in value}
        return [plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value
