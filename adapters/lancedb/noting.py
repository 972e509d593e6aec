"""The note of a table: a file in a folder, the metadata of a column in object storage.

LanceDB Cloud keeps no metadata for us: a table beside it holds the text in its one row.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from requant.adapters import notes
from requant.adapters.errors import EngineError
from requant.adapters.lancedb.calls import Caller, is_absent
from requant.adapters.lancedb.columns import CODE
from requant.adapters.lancedb.place import Place
from requant.adapters.lancedb.probe import connected
from requant.adapters.lancedb.table import Table, caller_of, opened

_KEY = "requant-note"


def note(table: Table, text: str) -> None:
    """Replace the text of a table."""
    place = table.place
    if place.folder:
        notes.write(place.folder, text)
    elif place.remote:
        table.call(_write_beside(place, text))
    else:
        update = {"path": CODE, "metadata": {_KEY: text}}
        table.call.retried(lambda: table.inner.update_field_metadata(update))


def noted(table: Table) -> str | None:
    """Return the text of an open table."""
    place = table.place
    if place.folder:
        return notes.read(place.folder)
    if place.remote:
        return _read_beside(place, table.call)
    return _in_schema(table.call(table.inner.schema()))


def noted_at(place: Place) -> str | None:
    """Return the text of the table at a place, None where there is none."""
    if place.folder:
        return notes.read(place.folder)
    call = caller_of(place)
    if place.remote:
        return _read_beside(place, call)
    try:
        inner, schema, *_ = call(opened(place))
    except EngineError as error:
        if not is_absent(error):
            raise
        return None
    inner.close()
    return _in_schema(schema)


def drop(place: Place) -> None:
    """Remove what stands beside a table that was dropped."""
    if not place.remote:
        return
    try:
        caller_of(place)(_drop_beside(place))
    except EngineError as error:
        if not is_absent(error):
            raise
        return


def _in_schema(schema: Any) -> str | None:
    metadata = schema.field(CODE).metadata if CODE in schema.names else None
    text = (metadata or {}).get(_KEY.encode())
    return None if text is None else text.decode()


def _beside(place: Place) -> str:
    return f"{place.table}-note"


def _read_beside(place: Place, call: Caller) -> str | None:
    try:
        rows = call(_rows_beside(place))
    except EngineError as error:
        if not is_absent(error):
            raise
        return None
    return str(rows[0]["text"]) if rows else None


async def _rows_beside(place: Place) -> Any:
    table = await (await connected(place)).open_table(_beside(place))
    return (await table.query().limit(1).to_arrow()).to_pylist()


async def _write_beside(place: Place, text: str) -> None:
    data = pa.table({"text": [text]})
    await (await connected(place)).create_table(_beside(place), data, mode="overwrite")


async def _drop_beside(place: Place) -> None:
    await (await connected(place)).drop_table(_beside(place))
