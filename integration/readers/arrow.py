"""Parquet, and Arrow IPC files and streams (.arrow, .feather); pyarrow is imported on first use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from requant.integration.errors import PackageMissingError, SourceError
from requant.integration.readers.table import Vectors, plain
from requant.tables import holds_numbers, json_values, list_vectors


@dataclass(frozen=True)
class ArrowChunk:
    """A record batch."""

    path: Path
    first: int
    batch: Any

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.batch.num_rows)

    def values(self, column: str) -> list[Any]:
        """Return a column as Python values; null becomes None."""
        array = self.batch.column(column)
        told = json_values(array)
        # What JSON has not is for the collection to refuse, which names the row.
        return [plain(value) for value in array.to_pylist()] if told is None else told

    def vectors(self, column: str, dim: int | None) -> Vectors:
        """Return a column of lists of numbers, of fixed size or not; raises RowError."""
        array = self.batch.column(column)
        _check_vectors(self.path, column, array.type)
        return Vectors(*list_vectors(array, dim))

    def records(self, columns: Sequence[str] | None, without: Collection[str]) -> list[Any]:
        """Return a dict a row."""
        if columns is None:
            columns = [name for name in self.batch.schema.names if name not in without]
        rows = zip(*(self.values(name) for name in columns), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def place(self, row: int, what: str) -> str:
        """Name the file and the row, from 0."""
        return f"{self.path} row {self.first + row}"


class ParquetTable:
    """A Parquet file, read a part of a row group at a time."""

    def __init__(self, path: Path) -> None:
        """Read the footer; raises SourceError, PackageMissingError."""
        self.path = path
        self._arrow = pyarrow()
        self._file = _opened(path, import_module("pyarrow.parquet").ParquetFile)
        self.columns: list[Any] = list(self._file.schema_arrow.names)
        self.vector_like: list[str] = _vector_like(self._file.schema_arrow)
        self.rows: int | None = self._file.metadata.num_rows

    def chunks(self, size: int, columns: Sequence[str]) -> Iterator[ArrowChunk]:
        """Yield the rows of `columns`, at most `size` at a time; raises SourceError."""
        batches = self._file.iter_batches(batch_size=size, columns=list(columns))
        yield from _chunks(self.path, batches, size)

    def share(self) -> float | None:
        """Return None: `rows` says it all."""
        return None


class ArrowTable:
    """An Arrow IPC file (also called Feather) or stream, mapped."""

    def __init__(self, path: Path) -> None:
        """Read the schema; raises SourceError, PackageMissingError."""
        self.path = path
        self._arrow = pyarrow()
        self._schema = _opened(path, self._reader).schema
        self.columns: list[Any] = list(self._schema.names)
        self.vector_like: list[str] = _vector_like(self._schema)
        self.rows: int | None = None

    def chunks(self, size: int, columns: Sequence[str]) -> Iterator[ArrowChunk]:
        """Yield the rows of `columns`, at most `size` at a time; raises SourceError."""
        batches = (batch.select(list(columns)) for batch in self._batches())
        yield from _chunks(self.path, batches, size)

    def share(self) -> float | None:
        """Return None: the format does not say how many rows are to come."""
        return None

    def _reader(self, path: Path) -> Any:
        source = self._arrow.memory_map(str(path))
        try:
            return self._arrow.ipc.open_file(source)
        except self._arrow.ArrowInvalid:
            source.seek(0)
            return self._arrow.ipc.open_stream(source)

    def _batches(self) -> Iterator[Any]:
        reader = self._reader(self.path)
        if hasattr(reader, "num_record_batches"):
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            yield from reader


# pyarrow's own errors are children of these; damaged text is a ValueError, too.
_BROKEN = (OSError, ValueError, NotImplementedError, TypeError, KeyError)


def pyarrow() -> Any:
    """Import pyarrow; raises PackageMissingError, which says how to install it."""
    try:
        import_module("pyarrow.ipc")
        return import_module("pyarrow")
    except ImportError as error:
        raise PackageMissingError(
            "Parquet and Arrow files need pyarrow: pip install 'requant[arrow]'"
        ) from error


def _opened(path: Path, opener: Any) -> Any:
    try:
        return opener(path)
    except _BROKEN as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _chunks(path: Path, batches: Iterator[Any], size: int) -> Iterator[ArrowChunk]:
    first = 0
    try:
        for batch in _regrouped(batches, size):
            yield ArrowChunk(path, first, batch)
            first += batch.num_rows
    except _BROKEN as error:
        raise SourceError(f"{path} cannot be read beyond row {first}: {error}") from error


def _regrouped(batches: Iterator[Any], size: int) -> Iterator[Any]:
    """Yield batches of `size` rows, the last one of fewer: files may hold batches of any size."""
    waiting: list[Any] = []
    count = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, size - count)
            waiting.append(part)
            start += part.num_rows
            count += part.num_rows
            if count == size:
                yield from _combined(waiting)
                waiting, count = [], 0
    yield from _combined(waiting)


def _combined(batches: list[Any]) -> list[Any]:
    if len(batches) < 2:
        return batches
    combined: list[Any] = pyarrow().Table.from_batches(batches).combine_chunks().to_batches()
    return combined


def _vector_like(schema: Any) -> list[str]:
    return [field.name for field in schema if holds_numbers(field.type)]


def _check_vectors(path: Path, column: str, kind: Any) -> None:
    if not holds_numbers(kind):
        raise SourceError(f"{path}: column {column!r} is {kind}, not lists of numbers")
