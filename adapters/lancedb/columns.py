"""Between our arrays and LanceDB's table: the columns `key` and `code`, and what the table says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from requant.adapters.protocol import IndexSpec, Keys
from requant.quantizers.arrays import Codes
from requant.quantizers.codes import Format

KEY, CODE = "key", "code"
_MARK = b"requant"
# With a primary key, two processes that insert the same key at the same time are told.
_PRIMARY = {"lance-schema:unenforced-primary-key": "true"}
_TYPES: dict[Format, Any] = {
    "float32": pa.float32(),
    "native": pa.float32(),
    "float16": pa.float16(),
    # LanceDB keeps int8 but cannot search it, and reads uint8 as bits. A half holds integers up to
    # 2048, and LanceDB adds their products up in float32.
    "int8": pa.float16(),
    "uint8": pa.float16(),
    "binary": pa.uint8(),
}
# Two to four times as fast as `astype`, which NumPy does in software.
_HALVES: dict[Format, NDArray[np.float16]] = {
    "int8": np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float16),
    "uint8": np.arange(256).astype(np.float16),
}
# Rows that are converted and handed over at once: some 30 MB of them.
_BYTES = 1 << 25


def schema_of(spec: IndexSpec) -> Any:
    """Return the Arrow schema of a table; its metadata say what the codes are."""
    items = pa.list_(pa.field("item", _TYPES[spec.code.format]), spec.code.width)
    return pa.schema(
        [
            pa.field(KEY, pa.int64(), nullable=False, metadata=_PRIMARY),
            pa.field(CODE, items, nullable=False),
        ],
        metadata={_MARK: json.dumps(described(spec))},
    )


def described(spec: IndexSpec) -> dict[str, Any]:
    """Return what has to be equal on every open."""
    return {
        "layout": 1,
        "format": spec.code.format,
        "dim": spec.code.dim,
        "metric": spec.metric,
        "index_type": spec.index_type,
    }


def description_in(schema: Any) -> dict[str, Any] | None:
    """Return what a table says of itself, None if requant did not make it."""
    raw = (schema.metadata or {}).get(_MARK)
    if raw is None:
        return None
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def batches(keys: Keys, codes: Codes, spec: IndexSpec) -> Iterator[Any]:
    """Yield Arrow record batches over the caller's own memory, or over halves of its integers."""
    schema = schema_of(spec)
    step = max(1, _BYTES // (spec.code.width * 2))
    for start in range(0, len(keys), step):
        part = slice(start, start + step)
        flat = pa.array(_stored(codes[part], spec).reshape(-1))
        lists = pa.FixedSizeListArray.from_arrays(flat, type=schema.field(CODE).type)
        yield pa.record_batch([pa.array(keys[part]), lists], schema=schema)


def reader(keys: Keys, codes: Codes, spec: IndexSpec) -> Any:
    """Return the rows as a stream, so that one part is converted while another is written."""
    return pa.RecordBatchReader.from_batches(schema_of(spec), batches(keys, codes, spec))


def query_arrays(queries: Codes, spec: IndexSpec) -> list[Any]:
    """Return each query as an Arrow array of the column's type."""
    return [pa.array(row) for row in _stored(queries, spec)]


def keys_in(rows: Any) -> Keys:
    """Return the keys of a table or batch."""
    return np.array(_flat(rows.column(KEY)), np.int64)


def codes_in(rows: Any, spec: IndexSpec) -> Codes:
    """Return copies of the codes of a table or batch, `(n, w)` as they were given."""
    column = rows.column(CODE)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    stored = np.asarray(column.flatten()).reshape(-1, spec.code.width)
    if not len(stored):
        return np.empty((0, spec.code.width), spec.code.dtype)
    return np.array(stored, spec.code.dtype)


def _flat(column: Any) -> NDArray[Any]:
    values: NDArray[Any] = column.to_numpy()
    return values


def _stored(codes: Codes, spec: IndexSpec) -> NDArray[Any]:
    halves = _HALVES.get(spec.code.format)
    if halves is None:
        return codes
    return halves.take(codes.view(np.uint8), mode="clip")
