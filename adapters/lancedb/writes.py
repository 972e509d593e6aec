"""Upserts, deletes and exports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from requant.adapters.lancedb.columns import CODE, KEY, codes_in, keys_in, reader
from requant.adapters.lancedb.search import where_keys
from requant.adapters.lancedb.table import Table
from requant.adapters.protocol import Keys
from requant.quantizers.arrays import Codes

# Keys in one condition: parsing takes longer than finding from here on.
_KEYS = 10_000
_ROW = "_rowid"


def upsert(table: Table, keys: Keys, codes: Codes) -> None:
    """Store a batch in one commit."""
    before, fresh = table.call(_situation(table, keys))
    if fresh:
        # Twice as fast as a merge.
        result = table.call.retried(lambda: _added(table, keys, codes))
    else:
        result = table.call.retried(lambda: _merged(table, keys, codes))
    if result.version != before + 1 and not table.place.remote:
        _remove_twins(table, keys)


def delete(table: Table, keys: Keys) -> int:
    """Remove keys and return how many were there."""
    gone = 0
    ordered = np.sort(keys)
    for start in range(0, len(ordered), _KEYS):
        where = where_keys(ordered[start : start + _KEYS])
        gone += _deleted(table, where)
    return gone


def chunks(table: Table, batch: int) -> Iterator[tuple[Keys, Codes]]:
    """Yield everything in one version of the table, whatever is written in the meantime."""
    query = table.inner.query().select([KEY, CODE])
    stream = table.call(query.to_batches(max_batch_length=batch))
    while (rows := table.call(_next(stream))) is not None:
        for start in range(0, rows.num_rows, batch):
            part = rows.slice(start, batch)
            yield keys_in(part), codes_in(part, table.plan.spec)


async def _situation(table: Table, keys: Keys) -> tuple[int, bool]:
    """Return the version of the table, and whether it has no key between those of the batch."""
    version = await table.inner.version()
    least, most = int(keys.min()), int(keys.max())
    return version, not await table.inner.count_rows(f"{KEY} >= {least} AND {KEY} <= {most}")


async def _added(table: Table, keys: Keys, codes: Codes) -> Any:
    return await table.inner.add(reader(keys, codes, table.plan.spec))


async def _merged(table: Table, keys: Keys, codes: Codes) -> Any:
    merge = table.inner.merge_insert(KEY).when_matched_update_all().when_not_matched_insert_all()
    return await merge.execute(reader(keys, codes, table.plan.spec))


async def _next(stream: Any) -> Any:
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return None


def _remove_twins(table: Table, keys: Keys) -> None:
    """Keep the newest row of each key, where another process wrote at the same time.

    LanceDB notices two merges of the same new key, but neither two additions nor one of each.
    """
    ordered = np.sort(keys)
    for start in range(0, len(ordered), _KEYS):
        where = where_keys(ordered[start : start + _KEYS])
        query = table.inner.query().where(where).select([KEY]).with_row_id()
        rows = table.call(query.to_arrow())
        found, ids = keys_in(rows), rows.column(_ROW).to_numpy()
        order = np.lexsort((ids, found))
        older = ids[order][:-1][found[order][1:] == found[order][:-1]]
        if len(older):
            _deleted(table, f"{_ROW} IN ({','.join(map(str, older.tolist()))})")


def _deleted(table: Table, where: str) -> int:
    """Delete by a condition of integers and return how many rows that were."""
    rows: int = table.call.retried(lambda: table.inner.delete(where)).num_deleted_rows
    return rows
