"""Writing a source into a collection, one transaction a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from requant.collection import Collection
from requant.errors import DuplicateIdError, InputError
from requant.inputs import OnConflict, check_rows
from requant.integration.errors import SourceError
from requant.integration.readers.source import Batch

# How the core names a row of the batch that it was given.
_ROW = re.compile(r"(ids|vectors|documents|metadata) row (\d+) ")
_ONE = {"ids": "id", "vectors": "vector", "documents": "document", "metadata": "metadata"}


@dataclass
class Tally:
    """What has been stored: rows, how many were new or have no vector; and rows not stored."""

    rows: int = 0
    new: int = 0
    without_vector: int = 0
    skipped: int = 0


def store(
    collection: Collection,
    batches: Iterable[Batch],
    tally: Tally,
    *,
    on_conflict: OnConflict = "replace",
    progress: Callable[[int], None] | None = None,
) -> None:
    """Store batches, each whole or not at all; a row without a vector takes away a stored one.

    Args:
        collection: where to.
        batches: see `Source.batches`.
        tally: counts what has been committed: exact also when this raises.
        on_conflict: what becomes of ids that are stored already, as in `Collection.upsert`.
        progress: called with the number of rows that are done with, after each batch.

    Raises:
        SourceError: a row cannot be stored; the text names file, row and reason.
    """
    for batch in batches:
        lacking = _lacking(collection, batch, on_conflict)
        new = _write(collection, batch, on_conflict)
        stored = new if on_conflict == "skip" else len(batch)
        tally.new += new
        tally.rows += stored
        tally.skipped += len(batch) - stored
        tally.without_vector += lacking
        if progress is not None:
            progress(tally.rows + tally.skipped)


def check(batch: Batch, dim: int) -> None:
    """Check a batch as the collection will; raises SourceError, naming file, row and reason."""
    try:
        check_rows(batch.ids, _given(batch), batch.documents, batch.metadata, dim)
    except InputError as error:
        raise placed(error, batch) from error


def _write(collection: Collection, batch: Batch, on_conflict: OnConflict) -> int:
    given = batch.ids, _given(batch), batch.documents, batch.metadata
    try:
        return collection.upsert(*given, on_conflict=on_conflict)
    except InputError as error:
        known = on_conflict == "error" and isinstance(error, DuplicateIdError)
        stored = _stored(collection, batch) if known else set()
        if not stored:
            raise placed(error, batch) from error
        row = next(row for row, value in enumerate(batch.ids) if str(value) in stored)
        raise SourceError(
            f"{batch.place(row, 'ids')}: id {str(batch.ids[row])[:80]!r} is already stored: "
            "replace it, or skip it"
        ) from error


def _lacking(collection: Collection, batch: Batch, on_conflict: OnConflict) -> int:
    """Count the rows without a vector that are going to be stored."""
    if batch.present is None:
        return 0
    known = _stored(collection, batch) if on_conflict == "skip" else set()
    rows = zip(batch.ids, batch.present.tolist(), strict=True)
    return sum(not there and str(name) not in known for name, there in rows)


def _stored(collection: Collection, batch: Batch) -> set[str]:
    return {str(name) for name in collection.ids({"$id": {"$in": batch.ids}})}


def _given(batch: Batch) -> Any:
    """Return the vectors as the collection takes them, with None for the rows that have none."""
    if batch.present is None:
        return batch.vectors
    vectors = iter(batch.vectors)
    return [next(vectors) if there else None for there in batch.present.tolist()]


def placed(error: InputError, batch: Batch) -> SourceError:
    """Return an error of the core that says the same of the file and its row."""
    found = _ROW.match(str(error))
    if found is None:
        return SourceError(f"{batch.place(0, 'vectors')}: {error}")
    what, row = found.groups()
    reason = str(error)[found.end() :]
    return SourceError(f"{batch.place(int(row), what)}: the {_ONE[what]} {reason}")
