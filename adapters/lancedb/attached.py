"""Tables of LanceDB that other programs keep: asked as they are, and never written to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from requant.adapters.attached import (
    Metric,
    agreed_metric,
    asked_by,
    check_asked,
    check_params,
    number,
    signs,
    told_metric,
    unit,
    wanted,
)
from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.guards import EngineGuard
from requant.adapters.lancedb.attached_columns import ROW, Columns, columns_of, texts_of
from requant.adapters.lancedb.attached_table import index_of, opened, place_named, stamp_of
from requant.adapters.lancedb.calls import Caller, is_absent
from requant.quantizers.arrays import Float32s

PARAMS = {
    "vector": "column of the vectors, where there are several",
    "id": "column of the ids (id, or the number of the row where there is none)",
    "nprobes": "partitions read by a search without effort (LanceDB's own default)",
    "ef": "candidates looked at by a search of a graph without effort (LanceDB's own default)",
    "refine_factor": "how many times k candidates are compared once more by their own vectors",
    "metric": "by which a table without an index is searched; cosine, where vectors under an index "
    "were normalised; any metric for a column of bits",
}
_CONNECTION = ("timeout", "region", "host_override", "storage_options", "api_key")
_METRICS: dict[str, Metric | None] = {"l2": "l2", "cosine": "cosine", "dot": "ip", "hamming": None}
_DISTANCES = {"l2": "l2", "cosine": "cosine", "ip": "dot", None: None}
_DISTANCE, _QUERY = "_distance", "query_index"
# LanceDB reads a table once for all queries of a call.
_AT_ONCE = 64


class AttachedTable:
    """A table of somebody else's; its ids are those of a column, or the numbers of its rows."""

    def __init__(self, location: str, params: Mapping[str, Any]) -> None:
        """Open the table; raises InputError, CorruptIndexError, EngineError."""
        check_params(params, (*PARAMS, *_CONNECTION), "a LanceDB table")
        self._nprobes, self._ef = number(params, "nprobes"), number(params, "ef")
        self._refine = number(params, "refine_factor")
        self._place = place_named(location, asked_by(1, params))
        self._call = Caller(str(self._place), self._place.secrets)
        try:
            self._table, schema = self._call(opened(self._place))
        except EngineError as error:
            if not is_absent(error):
                raise
            raise CorruptIndexError(f"there is no lancedb table at {self._place}") from error
        try:
            self._columns = columns_of(schema, params, str(self._place))
            self._graph, own = self._call(index_of(self._table, self._columns.vector))
            self._distance, self.metric = _distance(self._columns, own, told_metric(params))
        except BaseException:
            self._table.close()
            raise
        self.dim: int = self._columns.dim
        self._guard = EngineGuard("lancedb")

    def ask(self, queries: Float32s, k: int, effort: int | None = None) -> list[list[str]]:
        """Return the ids of the k nearest of each of `queries (q, d) float32`, nearest first.

        The table is asked at its newest version. `effort` is ef of a graph, nprobes of partitions.
        Raises InputError, DimensionError, EngineError.
        """
        queries = check_asked(queries, self.dim, k, effort)
        answers: list[list[str]] = []
        with self._guard.shared:
            want = wanted(k, self._rows)
            arrays = self._arrays(queries)
            # Bits come back under the wrong query when a call holds several.
            several = 1 if self._columns.bits else _AT_ONCE
            for start in range(0, len(arrays), several):
                answers += self._asked(arrays[start : start + several], want, effort)
        return answers

    def stamp(self) -> str:
        """Return the version of the table, when it was made, and how many rows it has.

        Every write makes a version, and so does tidying up (compaction, a new index), which
        changes no answer. Raises CorruptIndexError where it is gone, EngineError.
        """
        with self._guard.shared:
            try:
                return self._call(stamp_of(self._place))
            except EngineError as error:
                if not is_absent(error):
                    raise
                raise CorruptIndexError(f"there is no lancedb table at {self._place}") from error

    def __len__(self) -> int:
        """Return how many rows the table has."""
        with self._guard.shared:
            return self._rows()

    def close(self) -> None:
        """Let go of the table; closing twice is harmless."""
        self._guard.close()
        table = vars(self).pop("_table", None)
        if table is not None:
            table.close()

    def _rows(self) -> int:
        rows: int = self._call(self._table.count_rows())
        return rows

    def _arrays(self, queries: Float32s) -> list[Any]:
        """Return each query as an Arrow array of the type of the column."""
        if self._columns.bits:
            return [pa.array(row) for row in signs(queries)]
        if self.metric == "cosine" and self._distance != "cosine":
            queries = unit(queries)
        dtype = self._columns.dtype
        if dtype == np.float16:
            queries = queries.clip(-65504, 65504)
        return [pa.array(row) for row in queries.astype(dtype)]

    def _asked(self, arrays: list[Any], k: int, effort: int | None) -> list[list[str]]:
        """Return the answers to one call."""
        wish = self._table.query().nearest_to(arrays if len(arrays) > 1 else arrays[0])
        wish = wish.column(self._columns.vector).limit(k)
        if self._distance is not None:
            wish = wish.distance_type(self._distance)
        if self._graph and (ef := effort or self._ef):
            wish = wish.ef(max(ef, k))
        if nprobes := self._nprobes if self._graph else effort or self._nprobes:
            wish = wish.nprobes(nprobes)
        if self._refine:
            wish = wish.refine_factor(self._refine)
        if self._columns.id == ROW:
            wish = wish.with_row_id().select([_DISTANCE])
        else:
            wish = wish.select([self._columns.id, _DISTANCE])
        rows = self._call(wish.to_arrow())
        ids = texts_of(rows.column(self._columns.id), str(self._place))
        of = np.zeros(len(ids), np.int64)
        if _QUERY in rows.column_names:
            of = rows.column(_QUERY).to_numpy().astype(np.int64)
        answers: list[list[str]] = [[] for _ in arrays]
        for place in np.lexsort((rows.column(_DISTANCE).to_numpy(), of)):
            answers[of[place]].append(ids[place])
        return [answer[:k] for answer in answers]


def _distance(
    columns: Columns, own: str | None, told: Metric | None
) -> tuple[str | None, Metric | None]:
    """Return what LanceDB is told to compare by, and what that is for us."""
    if columns.bits:
        return "hamming", told
    if own is None:
        return _DISTANCES[told], told
    if own not in _METRICS:
        raise EngineError(f"the index of {columns.vector} compares by {own}, which is not known")
    # LanceDB scans the table where it is asked for another distance than that of the index.
    return own, agreed_metric(told, _METRICS[own], f"the index of {columns.vector}")
