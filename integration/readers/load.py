"""Writing a source into a collection, one transaction a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from requant.collection import Collection
from requant.errors import DuplicateIdError, InputError
from requant.inputs import check_rows
from requant.integration.errors import SourceError
from requant.integration.readers.source import Batch

# How the core names a row of the batch that it was given.
_ROW = re.compile(r"(ids|vectors|documents|metadata) row (\d+) ")
_ONE = {"ids": "id", "vectors": "vector", "documents": "document", "metadata": "metadata"}


@dataclass
class Tally:
    """What has been stored: rows, how many of them were new, how many have no vector."""

    rows: int = 0
    new: int = 0
    without_vector: int = 0


def store(
    collection: Collection,
    batches: Iterable[Batch],
    tally: Tally,
    *,
    add: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Store batches, each whole or not at all.

    Args:
        collection: where to.
        batches: see `Source.batches`.
        tally: counts what has been committed: exact also when this raises.
        add: refuse ids that are stored already, instead of replacing their items.
        progress: called with the number of rows stored, after each batch.

    Raises:
        SourceError: a row cannot be stored; the text names file, row and reason.
    """
    for batch in batches:
        if batch.present is not None:
            # Its parts are two transactions: the second one must not fail for a bad row.
            check(batch, collection.dim)
        for part in _parts(batch):
            tally.new += _write(collection, part, add)
            tally.rows += len(part)
            tally.without_vector += 0 if part.present is None else len(part)
        if progress is not None:
            progress(tally.rows)


def check(batch: Batch, dim: int) -> None:
    """Check a batch as the collection will; raises SourceError, naming file, row and reason."""
    try:
        for part in _parts(batch):
            check_rows(part.ids, _given(part), part.documents, part.metadata, dim)
    except InputError as error:
        raise placed(error, part) from error


def _write(collection: Collection, part: Batch, add: bool) -> int:
    write = collection.add if add else collection.upsert
    try:
        return write(part.ids, _given(part), part.documents, part.metadata)
    except InputError as error:
        if not isinstance(error, DuplicateIdError):
            raise placed(error, part) from error
        stored = collection.get(part.ids)
        if not stored:
            raise
        names = [str(value) for value in part.ids]
        name = str(stored[0].id)
        raise SourceError(
            f"{part.place(names.index(name), 'ids')}: id {name[:80]!r} is already stored: leave "
            "out --add to replace it"
        ) from error


def _given(part: Batch) -> Any:
    """Return the vectors of a part that has them for all its rows, or for none."""
    return part.vectors if part.present is None else None


def _parts(batch: Batch) -> Iterator[Batch]:
    """Yield the rows with a vector and those without: the store takes one kind at a time."""
    if batch.present is None:
        yield batch
        return
    for kind in (True, False):
        rows = np.flatnonzero(batch.present == kind).tolist()
        if rows:
            yield _taken(batch, rows, kind)


def _taken(batch: Batch, rows: list[int], with_vectors: bool) -> Batch:
    def pick(column: list[Any] | None) -> list[Any] | None:
        return None if column is None else [column[row] for row in rows]

    return Batch(
        ids=pick(batch.ids) or [],
        vectors=batch.vectors,
        present=None if with_vectors else np.zeros(len(rows), bool),
        documents=pick(batch.documents),
        metadata=pick(batch.metadata),
        place=lambda row, what: batch.place(rows[row], what),
    )


def placed(error: InputError, part: Batch) -> SourceError:
    """Return an error of the core that says the same of the file and its row."""
    found = _ROW.match(str(error))
    if found is None:
        return SourceError(f"{part.place(0, 'vectors')}: {error}")
    what, row = found.groups()
    reason = str(error)[found.end() :]
    return SourceError(f"{part.place(int(row), what)}: the {_ONE[what]} {reason}")
