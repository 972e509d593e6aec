"""A file of columns as batches ready to be stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.integration.errors import SourceError
from requant.integration.readers.arrow import ArrowTable, ParquetTable
from requant.integration.readers.columns import Chosen, Wanted, choose, choose_items
from requant.integration.readers.csv_files import CsvFile
from requant.integration.readers.jsonl import JsonLines
from requant.integration.readers.numpy_files import NpyFile, NpzFile
from requant.integration.readers.table import Chunk, Table, Vectors
from requant.store import refuse_own_file
from requant.tables import RowError, SeenIds

_READERS: dict[str, Callable[[Path], Table]] = {
    ".npy": NpyFile,
    ".npz": NpzFile,
    ".parquet": ParquetTable,
    ".arrow": ArrowTable,
    ".feather": ArrowTable,
    ".csv": CsvFile,
    ".tsv": CsvFile,
    ".csv.gz": CsvFile,
    ".tsv.gz": CsvFile,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".jsonl.gz": JsonLines,
    ".ndjson.gz": JsonLines,
}
EXTENSIONS = tuple(_READERS)
_IDS = 65536


@dataclass(frozen=True)
class Batch:
    """Rows to be stored: `vectors (m, d)` belong to the rows that `present (n,) bool` marks.

    `present=None` stands for all rows; `documents` and `metadata` are None if the file has none.
    `place(row, what)` names the file and the row for a message.
    """

    ids: list[Any]
    vectors: NDArray[Any]
    present: NDArray[np.bool_] | None
    documents: list[Any] | None
    metadata: list[Any] | None
    place: Callable[[int, str], str]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)


class Source:
    """What `open_source` returns: which columns are what, and the rows."""

    def __init__(self, table: Table, chosen: Chosen) -> None:
        """Stand for `table`, read as `chosen` says."""
        self.chosen = chosen
        self._table = table

    @property
    def path(self) -> Path:
        """The file."""
        return self._table.path

    @property
    def not_taken(self) -> list[str]:
        """The columns that nobody asked for."""
        return self.chosen.not_taken(self._table.columns)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the rows, at most `size` at a time.

        Raises:
            SourceError: a row cannot be used, or its id occurred before; the text names the row.
        """
        chosen, seen, dim = self.chosen, SeenIds(), None
        for chunk in self._table.chunks(size, self._columns()):
            vectors = _vectors(chunk, chosen.vector, dim)
            dim = vectors.floats.shape[1] or None
            ids = _ids(chunk, chosen.ids)
            # Items are looked through by who joins them.
            unique = chosen.ids is not None and chosen.vector is not None
            repeated = seen.first_repeated(ids) if unique else None
            if repeated is not None:
                raise SourceError(
                    f"{chunk.place(repeated, 'ids')}: id {str(ids[repeated])[:80]!r} occurs a "
                    "second time in this file"
                )
            documents = None if chosen.documents is None else chunk.values(chosen.documents)
            metadata = self._metadata(chunk)
            yield Batch(ids, vectors.floats, vectors.present, documents, metadata, chunk.place)

    def total(self, rows: int) -> int | None:
        """Return how many rows there are, or will about be, now that `rows` have been read."""
        if self._table.rows is not None:
            return self._table.rows
        share = self._table.share()
        return int(rows / share) if share else None

    def _columns(self) -> list[str]:
        chosen = self.chosen
        names = (chosen.vector, chosen.ids, chosen.documents, chosen.whole, *chosen.metadata)
        return list(dict.fromkeys(name for name in names if name is not None))

    def _metadata(self, chunk: Chunk) -> list[Any] | None:
        chosen = self.chosen
        if chosen.whole is not None:
            return chunk.values(chosen.whole)
        if chosen.rest:
            taken = [chosen.vector or "", chosen.ids or "", chosen.documents or ""]
            return chunk.records(None, taken)
        return chunk.records(chosen.metadata, ()) if chosen.metadata else None


def open_source(path: str | Path, wanted: Wanted) -> Source:
    """Open a file of vectors; the reader is chosen by the extension.

    Args:
        path: .npy, .npz, .parquet, .arrow, .feather, .csv, .tsv, .jsonl, .ndjson, or one of the
            last four with .gz.
        wanted: which column is what; see `Wanted`.

    Raises:
        InputError: a file of a database that is open here.
        SourceError: a file cannot be read, or a column is missing.
        PackageMissingError: the format needs a package that is not installed.
    """
    table = open_table(path)
    if table.path.suffix.lower() == ".npy" and wanted != Wanted(vector=wanted.vector):
        raise SourceError(
            f"{path} holds vectors only: hand over ids, documents and metadata as a file of their "
            "own, with --items"
        )
    return Source(table, choose(table, wanted))


def ids_by_row(path: str | Path) -> list[Any]:
    """Return the column `id` or `ids` of a file; raises SourceError, PackageMissingError."""
    table = open_table(path)
    chosen = choose_items(table, Wanted()).ids
    if chosen is None:
        raise SourceError(f"{path} has no column `id` or `ids`")
    return [name for chunk in table.chunks(_IDS, [chosen]) for name in _ids(chunk, chosen)]


def open_table(path: str | Path) -> Table:
    """Open a file of columns; raises InputError, SourceError, PackageMissingError."""
    refuse_own_file(path)
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist")
    if path.is_dir():
        raise SourceError(f"{path} is a folder: name a file")
    name = path.name.lower()
    # The longest extension first, so that .jsonl.gz is not taken for .gz.
    for extension in sorted(_READERS, key=len, reverse=True):
        if name.endswith(extension):
            return _READERS[extension](path)
    raise SourceError(f"{path}: unknown format, the name must end in one of {' '.join(EXTENSIONS)}")


def _vectors(chunk: Chunk, column: str | None, dim: int | None) -> Vectors:
    if column is None:
        return Vectors(np.empty((0, 0), np.float32), np.zeros(len(chunk), bool))
    try:
        return chunk.vectors(column, dim)
    except RowError as error:
        raise SourceError(f"{chunk.place(error.row, 'vectors')}: {error.reason}") from error


def _ids(chunk: Chunk, column: str | None) -> list[Any]:
    if column is None:
        return list(range(chunk.first, chunk.first + len(chunk)))
    ids = chunk.values(column)
    if None in ids:
        raise SourceError(f"{chunk.place(ids.index(None), 'ids')}: no id in column {column!r}")
    return ids
