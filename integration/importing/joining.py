"""Vectors and the items that belong to them: by id, or row by row.

By id: a vector's id is looked up among the ids of the items file. By row: a column file's n-th row
belongs to the n-th row of the items; the number that an index gave a vector (a FAISS label, a key
of usearch) is the number of its row, whatever order the index keeps. Without a wish it is by id
where both have ids, by row where one has none. Numbers from 0 without a gap may be both: then it is
by row if they are not ids of the items as well, and has to be said if it makes a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal
from zlib import crc32

import numpy as np

from requant.inputs import check_ids
from requant.integration.errors import SourceError
from requant.integration.importing.staging import Staged, Staging
from requant.integration.readers import Batch

By = Literal["id", "row"]
Unmatched = Literal["refuse", "skip", "keep"]
Batches = Callable[[int], Iterator[Batch]]
_LOOK = 4096
_SHOWN = 3


@dataclass
class Join:
    """A source joined to the rows of a file.

    `positions`: the source is a file of columns, whose rows are counted; else its ids are numbers
    that an index gave. `has_ids`: the source has ids of its own.
    """

    name: str
    source: Batches
    staging: Staging
    has_ids: bool
    positions: bool
    by: By | None
    unmatched: Unmatched
    labels: bool = False
    matched: int = 0
    vectors_alone: int = 0

    def check(self) -> None:
        """Decide by what to join, and refuse what does not fit; raises SourceError.

        The source is read once for it, unless it is clear and everything is taken.
        """
        if self.labels:
            self.by = "id"
        if self.by is None and not self.staging.has_ids:
            self.by = "row"
        if self.by is None and not self.has_ids and self.positions:
            self.by = "row"
        if self.by == "id" and not (self.staging.has_ids and self.has_ids):
            lacking = self.staging.name if not self.staging.has_ids else self.name
            raise SourceError(f"{lacking} has no ids to join by: name their column with --ids")
        if self.by != "id" or self.labels or self.unmatched == "refuse":
            self._match()

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the joined rows, then (`keep`) items without a vector; raises SourceError."""
        self.staging.used[:] = False
        self.matched = self.vectors_alone = first = 0
        for batch in self.source(size):
            found = self._found(batch, first)
            first += len(batch)
            there = [at for at, row in enumerate(found) if row is not None]
            self.matched += len(there)
            self.vectors_alone += len(batch) - len(there)
            if self.unmatched == "skip" and len(there) < len(batch):
                batch, found = _taken(batch, there), [found[at] for at in there]
            if found:
                yield self._joined(batch, found)
        if self.unmatched == "keep":
            for rows in self.staging.unused(size):
                yield _without_vectors(self.staging, rows)

    @property
    def rows_alone(self) -> int:
        """How many rows of the file no vector has found."""
        return int((~self.staging.used).sum())

    def described(self) -> dict[str, Any]:
        """Return what the answer says of the join."""
        return {
            "file": self.staging.name,
            "by": self.by,
            "rows": self.staging.rows,
            "matched": self.matched,
            "vectors_without_row": self.vectors_alone,
            "rows_without_vector": self.rows_alone,
            "unmatched": self.unmatched,
        }

    def _match(self) -> None:
        """Read the ids of the source; choose, and count what has no counterpart."""
        total, by_id, numbers = 0, 0, True
        alone: list[Any] = []
        greatest, in_order = -1, True
        for batch in self.source(_LOOK):
            kinds = check_ids(batch.ids)[1]
            numbers = numbers and set(kinds) == {1} and min(batch.ids) >= 0
            if numbers:
                greatest = max(greatest, *batch.ids)
            if self.staging.has_ids and self.by != "row":
                found = self.staging.find(batch.ids, by_row=False)
                if self.labels:
                    self._check_same(batch, found)
                by_id += sum(row is not None for row in found)
                in_order = in_order and all(
                    row is not None and row.row == n
                    for row, n in zip(found, batch.ids, strict=True)
                )
                if len(alone) < _SHOWN:
                    alone += [n for n, row in zip(batch.ids, found, strict=True) if row is None]
            total += len(batch)
        rows, counted = self.staging.rows, numbers and greatest == total - 1
        if self.by is None:
            self.by = self._chosen(counted, by_id, total, in_order)
        if self.by == "row":
            self._check_rows(total, numbers, greatest)
        elif self.labels and (by_id, rows) != (total, total + self.staging.unlabelled):
            raise self._stale()
        elif self.unmatched == "refuse" and (by_id < total or by_id < rows):
            raise SourceError(self._misfit(total - by_id, rows - by_id, alone))
        self.staging.used[:] = False

    def _check_same(self, batch: Batch, found: list[Staged | None]) -> None:
        """Refuse labels that were given to other vectors: an index may have been made anew."""
        for row, vector in zip(found, batch.vectors, strict=True):
            if row and row.crc32 is not None and row.crc32 != crc32(vector.tobytes()):
                raise self._stale()

    def _stale(self) -> SourceError:
        return SourceError(
            f"{self.staging.name} does not tell of the vectors in {self.name}: move it away if it "
            "does not belong to it"
        )

    def _chosen(self, counted: bool, by_id: int, total: int, in_order: bool) -> By:
        if not counted or (by_id and by_id < total) or in_order:
            return "id"
        if not by_id:
            return "row" if total == self.staging.rows else "id"
        raise SourceError(
            f"{self.name} numbers its vectors from 0, and {self.staging.name} has these numbers as "
            "ids, in another order: say with --items-by id or --items-by row which belong together"
        )

    def _check_rows(self, total: int, numbers: bool, greatest: int) -> None:
        if not self.positions and not numbers:
            raise SourceError(
                f"{self.name} has ids that are no row numbers, and {self.staging.name} is to be "
                "joined row by row: name its column of ids with --ids"
            )
        if total != self.staging.rows:
            raise SourceError(
                f"{self.name} has {total} rows, {self.staging.name} has {self.staging.rows}: they "
                "belong together row by row"
            )
        if not self.positions and greatest >= total:
            raise SourceError(
                f"{self.name} has {total} vectors whose ids go up to {greatest}: these are no "
                f"numbers of rows of {self.staging.name}; name its column of ids with --ids"
            )

    def _misfit(self, vectors: int, rows: int, alone: list[Any]) -> str:
        parts = []
        if vectors:
            some = ", ".join(f"{str(name)[:80]!r}" for name in alone[:_SHOWN])
            more = ", ..." if vectors > len(alone[:_SHOWN]) else ""
            parts.append(f"{vectors:,} of its vectors have no row there (id {some}{more})")
        if rows:
            left = np.flatnonzero(~self.staging.used)[: _SHOWN + 1].tolist()
            parts.append(f"{rows:,} rows there have no vector ({self.staging.shown(left)})")
        return (
            f"{self.name} and {self.staging.name} do not fit by id: {'; '.join(parts)}. Nothing is "
            "stored: say --unmatched skip to leave these out, --unmatched keep to store them as "
            "they are, or --items-by row"
        )

    def _found(self, batch: Batch, first: int) -> list[Staged | None]:
        if self.by == "id":
            return self.staging.find(batch.ids, by_row=False)
        numbers = range(first, first + len(batch)) if self.positions else batch.ids
        return self.staging.find(numbers, by_row=True)

    def _joined(self, batch: Batch, found: list[Staged | None]) -> Batch:
        ids = batch.ids
        if self.labels or (self.staging.has_ids and self.by == "row"):
            ids = [row.id if row else own for row, own in zip(found, batch.ids, strict=True)]
        lengths = [row.length if row else None for row in found] if self.labels else []

        def place(at: int, what: str) -> str:
            row = found[at]
            if what == "vectors" or row is None:
                return batch.place(at, what)
            return f"{self.staging.name} row {row.row}"

        documents = [row.document if row else None for row in found]
        metadata = [row.metadata if row else None for row in found]
        vectors = batch.vectors
        if any(length is not None for length in lengths):
            factors = np.array([1 if length is None else length for length in lengths])
            vectors = (vectors * factors[:, None]).astype(np.float32)
        return replace(
            batch, ids=ids, vectors=vectors, documents=documents, metadata=metadata, place=place
        )


def _without_vectors(staging: Staging, rows: list[Staged]) -> Batch:
    def place(at: int, what: str) -> str:
        return f"{staging.name} row {rows[at].row}"

    return Batch(
        [row.id if staging.has_ids else row.row for row in rows],
        np.empty((0, 0), np.float32),
        np.zeros(len(rows), bool),
        [row.document for row in rows],
        [row.metadata for row in rows],
        place,
    )


def _taken(batch: Batch, rows: list[int]) -> Batch:
    """Return some rows of a batch; documents and metadata come from elsewhere."""
    present = np.ones(len(batch), bool) if batch.present is None else batch.present
    kept = np.zeros(len(batch), bool)
    kept[rows] = True
    return Batch(
        [batch.ids[row] for row in rows],
        batch.vectors[kept[present]],
        None if batch.present is None else present[kept],
        None,
        None,
        lambda row, what: batch.place(rows[row], what),
    )
