"""Tables of LanceDB, with whatever columns they have."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.integration.errors import SourceError
from requant.integration.export.lancedb_feed import MARK
from requant.integration.export.parquet_files import ID_TYPES
from requant.integration.readers.arrow import pyarrow
from requant.integration.readers.columns import ALL, DOCUMENT_KEYS, Chosen, Wanted, choose
from requant.integration.readers.foreign.common import package, signs
from requant.integration.readers.foreign.lancedb_columns import TableChunk, is_binary, vector_like
from requant.integration.readers.foreign.lancedb_places import Place, place_of
from requant.integration.readers.foreign.listed import Metric
from requant.integration.readers.foreign.protocol import Fidelity
from requant.integration.readers.source import Batch, Source

_EXPORTED = {"cosine": "cosine", "ip": "dot", "l2": "l2"}
_METRICS: dict[str, Metric] = {"cosine": "cosine", "dot": "ip", "l2": "l2"}
# Rows that are read at once.
_PAGE = 8192
# A list of more numbers than this is another embedding, and no metadata.
_MAX_LIST = 32
_LIMITS = {
    "timeout": "30s",
    "connect_timeout": "5s",
    "client_max_retries": "3",
    "client_retry_timeout": "30",
}


def open_lancedb(source: str, wanted: Wanted) -> LancedbTable:
    """Open a table; raises SourceError, PackageMissingError."""
    place = place_of(source)
    lancedb = package("lancedb", "LanceDB tables", "lancedb")
    from requant.adapters.lancedb.calls import Caller

    call = Caller(str(place), [value for name, value in os.environ.items() if _is_secret(name)])
    try:
        table, schema, rows, metric = call(_opened(lancedb, place))
    except (EngineError, CorruptIndexError) as error:
        raise SourceError(str(error)) from error
    return LancedbTable(_Columns(str(place), table, schema, rows, call), metric, wanted)


class LancedbTable:
    """A table of LanceDB; `id`, `vector` and the text by their usual names, or as wanted."""

    def __init__(self, columns: _Columns, metrics: dict[str, str], wanted: Wanted) -> None:
        """Choose the columns; raises SourceError where one is missing or it is not clear which."""
        self._columns = columns
        metric = (columns.schema.metadata or {}).get(MARK)
        self._exported = metric is not None and wanted == Wanted()
        if metric is not None and self._exported:
            metrics = {"vector": _EXPORTED[metric.decode()]}
        chosen, notes = _exported(columns) if self._exported else _chosen(columns, wanted)
        vector = str(chosen.vector)
        self.notes: Sequence[str] = notes
        self._source = Source(columns, chosen)
        self._field = columns.schema.field(vector).type
        self.name: str = columns.path
        self.kind: str = "LanceDB table"
        self.rows: int | None = columns.rows
        self.fidelity: Fidelity = "exact"
        self._describe(chosen, metrics.get(vector), notes)
        self.dim: int = self._width(vector)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all rows in the order of the table; raises SourceError."""
        for batch in self._source.batches(size):
            floats = batch.vectors
            if self.fidelity == "codes-only":
                floats = signs(floats, 8 * floats.shape[1])
            batch = replace(batch, vectors=floats.astype(np.float32, copy=False))
            yield _restored(batch) if self._exported else batch

    def close(self) -> None:
        """Let go of the table."""
        self._columns.close()

    def _describe(self, chosen: Chosen, metric: str | None, notes: list[str]) -> None:
        kind = str(self._field.value_type)
        if kind == "uint8":
            self.fidelity = "codes-only"
            notes.append(
                "LanceDB reads uint8 as bits: they become vectors of -1 and 1, as numpy.packbits "
                "has them, and their order under Hamming distance is that of the cosine"
            )
        elif kind not in ("float", "double"):
            self.fidelity = "lossy"
            notes.append(f"the vectors are kept as {kind}")
        self.metric = "cosine" if kind == "uint8" else _METRICS.get(metric or "")
        if self.metric is None:
            notes.append(
                f"its index compares by {metric}, which is none of cosine, ip and l2"
                if metric
                else "without an index, a table does not tell how its vectors are compared"
            )
        if chosen.ids is None:
            notes.append("there is no column of ids: row numbers, from 0, are the ids")

    def _width(self, column: str) -> int:
        width: int = getattr(self._field, "list_size", 0)
        if not width:
            chunk = next(iter(self._columns.chunks(1024, [column])), None)
            width = chunk.vectors(column, None).floats.shape[1] if chunk else 0
        return width * 8 if self.fidelity == "codes-only" else width


class _Columns:
    """A table as columns by name."""

    def __init__(self, path: str, table: Any, schema: Any, rows: int, call: Any) -> None:
        self.path: Any = path
        self.schema: Any = schema
        self.columns: list[str] = list(schema.names)
        self.vector_like: list[str] = vector_like(schema)
        self.rows: int | None = rows
        self._count = rows
        self._table = table
        self._call = call

    def chunks(self, size: int, columns: Sequence[str]) -> Iterator[TableChunk]:
        """Yield the rows of `columns`, at most `size` at a time; raises SourceError."""
        first = 0
        try:
            # Page by page: one scan of everything reads ahead without bound, and takes four times
            # as long. The table stays at the version that was opened.
            for start in range(0, self._count, max(size, _PAGE)):
                page = self._call(self._page(list(columns), start, max(size, _PAGE)))
                for batch in page.combine_chunks().to_batches(max_chunksize=size):
                    yield TableChunk(self.path, first, batch)
                    first += batch.num_rows
        except (EngineError, CorruptIndexError) as error:
            raise SourceError(f"{error}, beyond row {first}") from error
        except (OSError, ValueError) as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"{self.path} cannot be read beyond row {first}: {error}") from error
        if first != self._count:
            raise SourceError(f"{self.path}: {first} of {self._count} rows can be read")

    def share(self) -> float | None:
        """Return None: `rows` says it all."""
        return None

    def close(self) -> None:
        self._table.close()

    async def _page(self, columns: list[str], start: int, rows: int) -> Any:
        return await self._table.query().select(columns).offset(start).limit(rows).to_arrow()


def _exported(columns: _Columns) -> tuple[Chosen, list[str]]:
    """Return the columns of what `requant export` has written."""
    rest = ("metadata", "id_type") if "id_type" in columns.columns else ("metadata",)
    return Chosen("vector", "id", "text", rest), []


def _restored(batch: Batch) -> Batch:
    """Return ids and metadata as they were before the export."""
    records: list[Any] = batch.metadata or []
    ids = [
        ID_TYPES[record.get("id_type") or "str"](name)
        for name, record in zip(batch.ids, records, strict=True)
    ]
    told = [record["metadata"] for record in records]
    metadata = [json.loads(entry) if isinstance(entry, str) else entry for entry in told]
    return replace(batch, ids=ids, metadata=metadata)


async def _opened(lancedb: Any, place: Place) -> tuple[Any, Any, int, dict[str, str]]:
    """Return the table, its schema, its rows, and the metric of each column with an index."""
    options = None if "://" not in place.uri else dict(_LIMITS)
    database = await lancedb.connect_async(place.uri, storage_options=options)
    table = await database.open_table(place.table)
    metrics = {}
    for index in await table.list_indices():
        told = await table.index_stats(index.name)
        if told is not None and told.distance_type:
            metrics[index.columns[0]] = str(told.distance_type).lower()
    return table, await table.schema(), await table.count_rows(), metrics


def _chosen(columns: _Columns, wanted: Wanted) -> tuple[Chosen, list[str]]:
    """Choose columns; metadata is every other one, but for long lists of numbers and bytes."""
    pyarrow()
    if wanted.documents is None:
        texts = (name for name in DOCUMENT_KEYS if name in columns.columns)
        wanted = replace(wanted, documents=next(texts, None))
    if wanted.metadata and wanted.metadata != (ALL,):
        return choose(columns, wanted), []
    chosen = choose(columns, replace(wanted, metadata=(ALL,)))
    dropped = [name for name in chosen.metadata if _too_long(columns.schema.field(name).type)]
    kept = tuple(name for name in chosen.metadata if name not in dropped)
    shown = ", ".join(map(repr, dropped))
    notes = [f"columns of bytes or vectors left out: {shown}"] if dropped else []
    # As LangChain has it: one column that holds the metadata itself.
    whole = kept == ("metadata",) and hasattr(
        columns.schema.field("metadata").type, "get_field_index"
    )
    if whole and not wanted.metadata:
        return replace(chosen, metadata=(), whole="metadata", rest=False), notes
    return replace(chosen, metadata=kept, rest=False), notes


def _too_long(kind: Any) -> bool:
    return is_binary(kind) or getattr(kind, "list_size", 0) > _MAX_LIST


def _is_secret(name: str) -> bool:
    return any(word in name for word in ("SECRET", "TOKEN", "PASSWORD", "API_KEY", "ACCESS_KEY"))
