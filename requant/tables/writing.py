"""A table into a collection: every column's type looked at first, then a batch at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from requant.errors import DimensionError, DuplicateIdError, InputError, RequantError
from requant.inputs import Duplicates, check_rows
from requant.quantizers.chunks import rows_for
from requant.tables.opening import Table, open_table
from requant.tables.seen import SeenIds
from requant.tables.values import ids_of, is_id, is_text, untold, values_of
from requant.tables.vectors import RowError, holds_numbers, list_vectors

Columns = dict[str, Any]
# How a row of a batch is named by who checks it.
_ROW = re.compile(r"(ids|vectors|documents|metadata) row (\d+) ")


@dataclass(frozen=True)
class TableOptions:
    """Which column is what; `metadata=None` stands for every column that is nothing else."""

    id: str
    vector: str | None
    document: str | None
    metadata: Sequence[str] | None
    duplicates: Duplicates
    batch: int


def upsert_table(
    table: Any,
    options: TableOptions,
    dim: int,
    write: Callable[[Columns], int],
    progress: Callable[[int, int], object] | None,
) -> int:
    """Hand a table to `write`, some rows at a time, and return the sum of its answers.

    Raises what `Collection.upsert_table` says it does.
    """
    size = options.batch
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"batch must be a whole number from 1, not {size!r}")
    native = tuple(name for name in (options.id, options.vector) if isinstance(name, str))
    opened = open_table(table, native)
    twice = next((name for name in opened.columns if opened.columns.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"there are two columns called {twice!r}: rename one")
    reading = _Reading(opened, options, _metadata(opened, options), dim)
    reading.check_types()
    size = rows_for(dim, int(size))
    if opened.again and (opened.rows or 0) > size:
        for _ in reading.batches(size, checked=True):
            pass
    done = new = 0
    try:
        for columns in reading.batches(size, checked=not opened.again):
            new += reading.written(write, columns, done)
            done += len(columns["ids"])
            if progress is not None:
                progress(done, opened.rows or done)
    except BaseException as error:  # of whoever interrupts, too
        vars(error)["stored"] = done
        if isinstance(error, RequantError) and done:
            raise _after(error, done) from error
        raise
    return new


@dataclass(frozen=True)
class _Reading:
    """A table, and what its columns become."""

    table: Table
    options: TableOptions
    metadata: list[str]
    dim: int

    def check_types(self) -> None:
        """Refuse columns that are missing, or of a type that cannot be stored."""
        options = self.options
        named = {"id": options.id, "vector": options.vector, "document": options.document}
        known: dict[str, str] = {}
        for what, name in named.items():
            if name is not None and name in known:
                raise InputError(f"column {name!r} cannot be both {known[name]}= and {what}=")
            known[name or ""] = what
            if name is not None and name not in self.table.columns:
                raise InputError(
                    f"there is no column {name!r} ({what}=); the columns are: "
                    f"{', '.join(map(repr, self.table.columns))}"
                )
        wanted = {
            options.id: (is_id, "ids are text, whole numbers or UUIDs"),
            options.vector: (holds_numbers, "a vector is a list of numbers"),
            options.document: (is_text, "a document is text"),
        }
        for name, (fits, told) in wanted.items():
            if name in self.table.schema.names and not fits(self.table.schema.field(name).type):
                kind = self.table.schema.field(name).type
                raise InputError(f"column {name!r} is {kind}: {told}; nothing was written")
        for name in self.metadata:
            part = untold(self.table.schema.field(name).type)
            if part is not None:
                raise InputError(
                    f"column {name!r} is {part}, which metadata cannot hold: turn it into text or "
                    "numbers, or leave it out with metadata=; nothing was written"
                )

    def batches(self, size: int, *, checked: bool) -> Iterator[Columns]:
        """Yield the arguments of `upsert`; raises InputError, naming row and column."""
        seen = SeenIds() if checked and self.options.duplicates == "error" else None
        first = 0
        for batch in self.table.batches(size):
            columns = self._columns(batch, first)
            if checked:
                self._check(columns, first, seen)
            yield columns
            first += batch.num_rows

    def written(self, write: Callable[[Columns], int], columns: Columns, first: int) -> int:
        """Hand over a batch; what is wrong with it is told by the table's rows and columns."""
        try:
            return write(columns)
        except InputError as error:
            raise self._placed(error, first) from error

    def _columns(self, batch: Any, first: int) -> Columns:
        options, end = self.options, first + batch.num_rows
        own = self.table.native.get(options.id)
        columns: Columns = {
            "ids": own(first, end) if own else ids_of(batch.column(options.id)),
        }
        if None in columns["ids"]:
            row = first + columns["ids"].index(None)
            raise InputError(f"row {row}: no id in column {options.id!r}")
        if options.vector is not None:
            columns["vectors"] = self._vectors(batch, options.vector, first, end)
        if options.document is not None:
            columns["documents"] = values_of(batch.column(options.document))
        if self.metadata or options.metadata is None:
            told = [self._values(batch, name, first) for name in self.metadata]
            rows = zip(*told, strict=True) if told else [()] * batch.num_rows
            columns["metadata"] = [dict(zip(self.metadata, row, strict=True)) for row in rows]
        if not self.metadata:
            columns.pop("metadata", None)
        return columns

    def _vectors(self, batch: Any, name: str, first: int, end: int) -> Any:
        own = self.table.native.get(name)
        if own:
            vectors = own(first, end)
            self._check_widths(vectors, name, first)
            return vectors
        try:
            floats, present = list_vectors(batch.column(name), self.dim)
        except RowError as error:
            raise InputError(f"row {first + error.row}, column {name!r}: {error.reason}") from error
        if present is None:
            return floats
        rows = iter(floats)
        return [next(rows) if there else None for there in present.tolist()]

    def _check_widths(self, vectors: list[Any], name: str, first: int) -> None:
        for row, vector in enumerate(vectors, first):
            told = f"row {row}, column {name!r}: "
            if vector is None:
                continue
            if isinstance(vector, str | bytes) or not hasattr(vector, "__len__"):
                kind = type(vector).__name__
                raise InputError(f"{told}is a {kind}: a vector is a list of numbers")
            if len(vector) != self.dim:
                raise DimensionError(f"{told}has {len(vector)} dimensions, expected {self.dim}")

    def _values(self, batch: Any, name: str, first: int) -> list[Any]:
        column = batch.column(name)
        try:
            return values_of(column)
        except ValueError as error:
            for at in range(len(column)):
                try:
                    values_of(column.slice(at, 1))
                except ValueError:
                    raise InputError(
                        f"row {first + at}, column {name!r}: it holds {error}; make it null"
                    ) from error
            raise

    def _check(self, columns: Columns, first: int, seen: SeenIds | None) -> None:
        vectors, documents = columns.get("vectors"), columns.get("documents")
        metadata = columns.get("metadata")
        try:
            check_rows(
                columns["ids"], vectors, documents, metadata, self.dim, self.options.duplicates
            )
        except InputError as error:
            raise self._placed(error, first) from error
        repeated = None if seen is None else seen.first_repeated(columns["ids"])
        if repeated is not None:
            raise DuplicateIdError(
                f"row {first + repeated}: id {str(columns['ids'][repeated])[:80]!r} occurs a "
                "second time in the table"
            )

    def _placed(self, error: InputError, first: int) -> InputError:
        found = _ROW.match(str(error))
        if found is None and str(error).startswith("vectors "):
            told = f"column {self.options.vector!r}, from row {first} on: the {error}"
            return type(error)(told)
        if found is None:
            where = f"in the batch that begins with row {first}: " if first else ""
            return type(error)(f"{where}{error}")
        options = self.options
        names = {"ids": options.id, "vectors": options.vector, "documents": options.document}
        column = names.get(found[1])
        told = f", column {column!r}" if column else ", metadata"
        return type(error)(f"row {first + int(found[2])}{told}: {str(error)[found.end() :]}")


def _metadata(table: Table, options: TableOptions) -> list[str]:
    """Return the columns that are metadata; raises InputError where one is not there."""
    taken = (options.id, options.vector, options.document)
    if options.metadata is None:
        return [name for name in table.schema.names if name not in taken]
    if isinstance(options.metadata, str) or not isinstance(options.metadata, Sequence):
        raise InputError("metadata must be a list of names of columns, or None for all others")
    for name in options.metadata:
        if name in taken[:2]:
            raise InputError(f"column {name!r} is that of ids or vectors: it cannot be metadata")
        if name not in table.schema.names:
            there = ", ".join(map(repr, table.columns))
            raise InputError(f"there is no column {name!r} (metadata=); the columns are: {there}")
    return list(dict.fromkeys(options.metadata))


def _after(error: RequantError, done: int) -> RequantError:
    told = type(error)(f"{error}; {done} rows before it are stored")
    told.stored = done
    return told
