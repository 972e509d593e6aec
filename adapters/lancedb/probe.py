"""A connection to a database of LanceDB, and whether its writers can rely on it."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from datetime import timedelta
from typing import Any

import lancedb
import pyarrow as pa

from requant.adapters.errors import EngineError
from requant.adapters.lancedb.calls import Caller
from requant.adapters.lancedb.place import Place

# Writers of one table at the same time, and how many rows each of them adds.
_AT_ONCE, _ROUNDS = 4, 3
_ROW = pa.table({"probe": pa.array([0], pa.int64())})


async def connected(place: Place) -> Any:
    """Return a connection to the database of a place."""
    # Without an interval, a handle never sees what other processes write.
    interval = None if place.remote else timedelta(0)
    return await lancedb.connect_async(
        place.uri, read_consistency_interval=interval, **place.connection
    )


def check_conditional_writes(place: Place, call: Caller) -> None:
    """Raise EngineError where the object store lets two writers write the same version.

    LanceDB relies on `If-None-Match`, which some stores accept and ignore: then a commit replaces
    another one that was acknowledged.
    """
    told, held = call(_tried(place, f"{place.table}-probe-{uuid.uuid4().hex[:8]}"))
    if held < told:
        raise EngineError(
            f"the object store of {place} ignores If-None-Match: of {told} rows that several "
            f"writers had added {held} were left; keep the index in a folder, or in a store with "
            "conditional writes (Amazon S3, Google Cloud Storage, Azure, MinIO)"
        )


async def _tried(place: Place, name: str) -> tuple[int, int]:
    """Return how many rows several writers were told to have added, and how many there are."""
    database = await connected(place)
    table = await database.create_table(name, schema=_ROW.schema)
    try:
        writers = [await (await connected(place)).open_table(name) for _ in range(_AT_ONCE)]
        told = 0
        for _ in range(_ROUNDS):
            results = await asyncio.gather(
                *(writer.add(_ROW) for writer in writers), return_exceptions=True
            )
            told += sum(not isinstance(result, BaseException) for result in results)
        return told, await table.count_rows()
    finally:
        with contextlib.suppress(Exception):
            await database.drop_table(name)
