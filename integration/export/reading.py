"""A Parquet export back in: checked whole before the first row of it is believed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from requant.adapters.errors import CorruptIndexError
from requant.adapters.files import Digest, check_digest
from requant.integration.errors import SourceError
from requant.integration.export import manifest
from requant.integration.export.job import count
from requant.integration.export.manifest import FileEntry, Manifest
from requant.integration.export.packages import package
from requant.integration.export.parquet_files import ID_TYPES
from requant.integration.readers.arrow import ArrowChunk
from requant.integration.readers.foreign.protocol import Fidelity
from requant.integration.readers.source import Batch
from requant.tables import RowError, SeenIds

_COLUMNS = ["id", "id_type", "vector", "document", "metadata"]
_CHECKED_ROWS = 65536


class ExportSource:
    """An export as batches ready to be stored; a `ForeignSource`. `manifest` tells all of it."""

    kind = "requant export (Parquet)"
    fidelity: Fidelity = "exact"

    def __init__(self, folder: Path, told: Manifest) -> None:
        """Stand for an export that has been checked."""
        self.name: str = str(folder)
        self.manifest = told
        self.metric: Any = told.metric
        self.dim: int = told.dim
        self.model: dict[str, Any] | None = told.model
        self.rows: int | None = told.rows
        self.notes: Sequence[str] = _notes(told)
        self._folder = folder

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the items in their old order, at most `size` at a time; raises SourceError.

        Items with a vector and items without never share a batch: the store writes them one after
        the other, and their order would change.
        """
        for entry in self.manifest.files:
            path = self._folder / entry.name
            first = 0
            for batch in _opened(path).iter_batches(batch_size=size, columns=_COLUMNS):
                chunk = ArrowChunk(path, first, batch)
                yield from _split(chunk, self.dim)
                first += len(chunk)

    def close(self) -> None:
        """Do nothing: no file is open."""


def read_back(folder: str | PathLike[str]) -> ExportSource:
    """Open an export and check every file against its manifest.

    Args:
        folder: what `export(..., format="parquet")` made.

    Raises:
        SourceError: a file is missing or is not what was written, or an id occurs twice; the text
            names the file and the problem.
    """
    path = Path(folder)
    told = manifest.read(path)
    _check_names(path, told)
    seen = SeenIds()
    for entry in told.files:
        _check_file(path / entry.name, entry, seen)
    found = sum(entry.rows for entry in told.files)
    if found != told.rows:
        raise SourceError(
            f"{path / manifest.NAME} tells of {told.rows} rows, its files of {found}: export the "
            "collection again"
        )
    return ExportSource(path, told)


def _notes(told: Manifest) -> list[str]:
    notes = []
    if told.where is not None:
        notes.append(f"these are the items that met {json.dumps(told.where)}, not all")
    if told.without_vector:
        notes.append(f"{count(told.without_vector, 'item')} without a vector")
    if told.indexes:
        names = ", ".join(str(entry["name"]) for entry in told.indexes)
        notes.append(f"indexes are not restored, only told of: {names}")
    return notes


def _check_names(folder: Path, told: Manifest) -> None:
    names = [entry.name for entry in told.files]
    for name in names:
        if Path(name).name != name or names.count(name) > 1:
            raise SourceError(f"{folder / manifest.NAME} names a file that cannot be: {name!r}")
    strange = sorted({path.name for path in folder.glob("*.parquet")} - set(names))
    if strange:
        raise SourceError(
            f"{folder / strange[0]} is not in the manifest: move it elsewhere, exports are not "
            "mixed in one folder"
        )


def _check_file(path: Path, entry: FileEntry, seen: SeenIds) -> None:
    try:
        check_digest(path, Digest(entry.bytes, entry.sha256))
    except (CorruptIndexError, OSError) as error:
        raise SourceError(f"{error}; export the collection again") from error
    file = _opened(path)
    rows = file.metadata.num_rows
    if rows != entry.rows:
        raise SourceError(f"{path} holds {rows} rows, the manifest tells of {entry.rows}")
    lacking = [name for name in _COLUMNS if name not in file.schema_arrow.names]
    if lacking:
        raise SourceError(f"{path} has no column {lacking[0]!r}")
    first = 0
    for batch in file.iter_batches(batch_size=_CHECKED_ROWS, columns=["id"]):
        ids = batch.column("id").to_pylist()
        repeated = seen.first_repeated(ids)
        if repeated is not None:
            raise SourceError(
                f"{path} row {first + repeated}: id {ids[repeated][:80]!r} occurs a second time"
            )
        first += len(ids)


def _opened(path: Path) -> Any:
    parquet = package("pyarrow.parquet", "arrow")
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _split(chunk: ArrowChunk, dim: int) -> Iterator[Batch]:
    try:
        vectors = chunk.vectors("vector", dim)
    except RowError as error:
        raise SourceError(f"{chunk.place(error.row, 'vectors')}: {error.reason}") from error
    present = vectors.present if vectors.present is not None else np.ones(len(chunk), bool)
    ids, metadata = _ids(chunk), _metadata(chunk)
    documents = chunk.values("document")
    # The places where a run of items with a vector, or without, ends.
    ends = [*(np.flatnonzero(present[1:] != present[:-1]) + 1).tolist(), len(chunk)]
    start = at = 0
    for end in ends if len(chunk) else ():
        there = bool(present[start])
        taken = end - start if there else 0
        yield Batch(
            ids[start:end],
            vectors.floats[at : at + taken] if there else np.empty((0, dim), np.float32),
            None if there else np.zeros(end - start, bool),
            documents[start:end],
            metadata[start:end],
            lambda row, what, first=start: chunk.place(first + row, what),  # type: ignore[misc]
        )
        start, at = end, at + taken


def _ids(chunk: ArrowChunk) -> list[Any]:
    pairs = zip(chunk.values("id"), chunk.values("id_type"), strict=True)
    ids = []
    for row, (text, kind) in enumerate(pairs):
        try:
            ids.append(ID_TYPES[kind](text))
        except (KeyError, ValueError) as error:
            raise SourceError(
                f"{chunk.place(row, 'ids')}: {text!r} is no id of type {kind!r}"
            ) from error
    return ids


def _metadata(chunk: ArrowChunk) -> list[Any]:
    found = []
    for row, text in enumerate(chunk.values("metadata")):
        try:
            found.append(None if text is None else json.loads(text))
        except ValueError as error:
            raise SourceError(f"{chunk.place(row, 'metadata')}: not JSON: {error}") from error
    return found
