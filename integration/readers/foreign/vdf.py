"""VDF folders, as vdf-io exports them: VDF_META.json, and Parquet files a namespace."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from requant.integration.errors import SourceError
from requant.integration.readers.arrow import ArrowChunk, ParquetTable
from requant.integration.readers.columns import ALL, DOCUMENT_KEYS, Wanted
from requant.integration.readers.foreign.json_files import as_list, as_object, read_object
from requant.integration.readers.foreign.listed import Metric
from requant.integration.readers.foreign.protocol import Fidelity
from requant.integration.readers.source import Batch
from requant.tables import RowError, SeenIds

FILE = "VDF_META.json"
# pandas writes an index that is no plain range as a column; it is no part of the data.
_PANDAS = re.compile(r"__index_level_\d+__")
_METRICS: dict[str, Metric] = {"cosine": "cosine", "dot": "ip", "euclid": "l2", "l2": "l2"}


@dataclass(frozen=True)
class _Part:
    """A namespace: its name, and what VDF_META.json tells of it."""

    name: str
    told: dict[str, Any]
    before: int

    def __str__(self) -> str:
        return self.name


def is_vdf(source: str) -> bool:
    """Tell whether a path is a VDF folder, or FOLDER/INDEX, or FOLDER/INDEX/NAMESPACE."""
    return _split(source) is not None


def open_vdf(source: str, wanted: Wanted) -> VdfFolder:
    """Open one index of a VDF folder.

    Args:
        source: the folder; after a slash the name of the index, and of its namespace, which may be
            left out where there is only one.
        wanted: columns, where they are not those that VDF_META.json tells; the documents are in
            `document`, `text` or `page_content`, and all other columns are metadata.

    Raises:
        SourceError: it is not clear which index, a file is missing, or a column is not there.
    """
    found = _split(source)
    if found is None:
        raise SourceError(f"{source} has no {FILE}: it is no VDF folder")
    folder, name = found
    meta = read_object(folder / FILE)
    return VdfFolder(folder, meta, _chosen(folder, _parts(folder, meta), name), wanted)


class VdfFolder:
    """All Parquet files of one namespace, in the order of their numbers."""

    def __init__(self, folder: Path, meta: dict[str, Any], part: _Part, wanted: Wanted) -> None:
        """Read the footers of all files; raises SourceError."""
        self.name: str = str(folder / part.name)
        self.kind = "VDF folder"
        self.notes: Sequence[str] = ()
        self._tables = [_opened(path) for path in _files(folder, part)]
        self.rows: int | None = sum(table.rows or 0 for table in self._tables)
        self._check_rows(part)
        metric = str(part.told.get("metric") or "").lower()
        self.metric: Metric | None = _METRICS.get(metric)
        normalised = meta.get("exported_from") == "qdrant" and metric == "cosine"
        self.fidelity: Fidelity = "normalised" if normalised else "exact"
        self._vector = wanted.vector or self._told_vector(part)
        self._id = wanted.ids or str(meta.get("id_column") or "id")
        self._document, self._metadata = wanted.documents, wanted.metadata
        if self._document is None:
            columns = _columns(self._tables[0])
            self._document = next((name for name in DOCUMENT_KEYS if name in columns), None)
        self._check_columns()
        self.dim: int = self._width()

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the rows of all files; raises SourceError, naming file and row."""
        seen = SeenIds()
        for table in self._tables:
            others = [name for name in _columns(table) if name != self._vector]
            for chunk in table.chunks(size, [self._vector, *others]):
                try:
                    batch = self._batch(chunk)
                except UnicodeDecodeError as error:
                    place = chunk.place(0, "metadata")
                    raise SourceError(f"{place} or after it: text is damaged: {error}") from error
                repeated = seen.first_repeated(batch.ids)
                if repeated is not None:
                    raise SourceError(
                        f"{chunk.place(repeated, 'ids')}: id {str(batch.ids[repeated])[:80]!r} "
                        "occurs a second time in this index: ids must be unique in all its files"
                    )
                yield batch

    def close(self) -> None:
        """Let go of the files."""
        self._tables = []

    def _batch(self, chunk: ArrowChunk) -> Batch:
        ids = chunk.values(self._id)
        if None in ids:
            raise SourceError(f"{chunk.place(ids.index(None), 'ids')}: no id in {self._id!r}")
        try:
            vectors = chunk.vectors(self._vector, self.dim)
        except RowError as error:
            raise SourceError(f"{chunk.place(error.row, 'vectors')}: {error.reason}") from error
        documents = None if self._document is None else chunk.values(self._document)
        wanted = self._metadata if self._metadata and self._metadata != (ALL,) else None
        taken = [self._id, self._vector, *([self._document] if self._document else [])]
        columns = chunk.batch.schema.names
        chosen = wanted or [name for name in columns if name not in taken]
        metadata = chunk.records([name for name in chosen if name in columns], ())
        floats = vectors.floats.astype("float32", copy=False)
        return Batch(ids, floats, vectors.present, documents, metadata, chunk.place)

    def _check_rows(self, part: _Part) -> None:
        """Refuse an export that lacks rows.

        vdf-io counts on from one LanceDB table to the next: so its number may hold those before.
        """
        told = part.told.get("exported_vector_count")
        if isinstance(told, int) and self.rows not in (told, told - part.before):
            raise SourceError(
                f"{self.name}: {FILE} announces {told} rows, its {len(self._tables)} files hold "
                f"{self.rows}: some are missing or not its own; export it again"
            )

    def _told_vector(self, part: _Part) -> str:
        names = part.told.get("vector_columns") or ["vector"]
        if len(names) > 1:
            raise SourceError(
                f"{self.name} has {len(names)} columns of vectors, choose one with --vector "
                "(in Python vector=): " + ", ".join(map(str, names))
            )
        return str(names[0])

    def _check_columns(self) -> None:
        everywhere = {name for table in self._tables for name in _columns(table)}
        lost = [name for name in self._metadata if name not in everywhere and name != ALL]
        if lost:
            raise SourceError(
                f"{self.name} has no column {lost[0]!r} (--metadata); its columns are: "
                + ", ".join(sorted(everywhere))
            )
        wanted = {"--ids": self._id, "--vector": self._vector, "--documents": self._document}
        for table in self._tables:
            columns = _columns(table)
            for option, name in wanted.items():
                if name is not None and name not in columns:
                    raise SourceError(
                        f"{table.path} has no column {name!r} ({option}); its columns are: "
                        + ", ".join(columns)
                    )

    def _width(self) -> int:
        for table in self._tables:
            for chunk in table.chunks(1, [self._vector]):
                vectors = chunk.vectors(self._vector, None)
                if len(vectors.floats):
                    return int(vectors.floats.shape[1])
        raise SourceError(f"{self.name} holds no vectors")


def _opened(path: Path) -> ParquetTable:
    try:
        return ParquetTable(path)
    except NotImplementedError as error:  # what pyarrow makes of some damage
        raise SourceError(f"{path} cannot be read: {error}") from error


def _columns(table: ParquetTable) -> list[str]:
    return [name for name in table.columns if not _PANDAS.fullmatch(name)]


def _split(source: str) -> tuple[Path, str | None] | None:
    """Return the folder and what is chosen in it."""
    path = Path(source)
    if path.name == FILE and path.is_file():
        return path.parent, None
    for folder in (path, path.parent, path.parent.parent):
        if (folder / FILE).is_file():
            return folder, None if folder == path else path.relative_to(folder).as_posix()
    return None


def _parts(folder: Path, meta: dict[str, Any]) -> list[_Part]:
    """Return all namespaces, called INDEX or INDEX/NAMESPACE."""
    found, before = [], 0
    indexes = as_object(meta.get("indexes"), f"{folder / FILE}: indexes")
    for index, namespaces in indexes.items():
        for told in as_list(namespaces, f"{folder / FILE}: index {index[:80]!r}"):
            fields = as_object(told, f"{folder / FILE}: index {index[:80]!r}")
            name = f"{index}/{fields['namespace']}" if fields.get("namespace") else index
            found.append(_Part(name, fields, before))
            count = fields.get("exported_vector_count")
            before = count if isinstance(count, int) else before
    return found


def _chosen(folder: Path, parts: Sequence[_Part], name: str | None) -> _Part:
    matching = [part for part in parts if name is None or part.name == name]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(map(str, parts)) or "none"
    if matching:
        raise SourceError(
            f"{folder} holds {len(parts)} indexes, name one as {folder}/NAME: {names}"
        )
    raise SourceError(f"{folder} has no index {name!r}; it has: {names}")


def _files(folder: Path, part: _Part) -> list[Path]:
    """Return the Parquet files in the order of their numbers: 2 comes before 10."""
    data = folder / str(part.told.get("data_path") or ".")
    if not data.resolve().is_relative_to(folder.resolve()):
        raise SourceError(f"{folder / FILE}: data_path {str(data)!r} leads out of the folder")
    files = [path for path in data.glob("*.parquet") if path.is_file()]
    if not files:
        raise SourceError(f"{data} holds no Parquet file: the index {part.name!r} is not there")
    return sorted(files, key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part)
            for part in re.split(r"(\d+)", path.name)]  # fmt: skip
