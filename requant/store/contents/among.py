"""The items that a statement of the application's own names by their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from requant.adapters.protocol import Keys
from requant.errors import StoreError
from requant.filters import is_read_as_stored, select_keys
from requant.inputs import check_ids
from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.store.reader import Reader
from requant.store.schema import CollectionRow

_TYPES = {int, str, UUID}


class Among(NamedTuple):
    """Keys in order, and `vectors (n, d) float32` of all of them, or None where none were read."""

    keys: Keys
    vectors: Float32s | None = None


def items_among(reader: Reader, owner: CollectionRow, ids: sa.SelectBase, few: int) -> Among:
    """Return the items that have one of the ids that `ids` selects.

    Of up to `few` of them, which are scored in any case, the vectors are read as well, where that
    can be done by the ids; those without a vector are left out then.

    Raises InputError where it selects what is no id.
    """
    few = min(few, rows_for(owner.dim))
    connection, _ = reader.source(bulk=False)
    with _explained(reader):
        if is_read_as_stored(ids, connection.dialect.name):
            # Past the statement that joins both, which takes SQLAlchemy as long as the database.
            some = _read(connection, ids, few)
            if some is not None:
                return Among(*reader.vectors_named(owner.id, some, owner.dim))
        statement = select_keys(ids, reader.tables.items, owner.id, connection.dialect)
        if statement is not None:
            # Sorted here: the database might look at all items in their order, else.
            keys = connection.execute(statement).scalars().all()
            return Among(np.sort(np.array(keys, np.int64)))
        values = connection.execute(cast("sa.Select[Any]", ids)).scalars().all()
    texts, _ = check_ids(value for value in values if value is not None)
    return Among(np.array(sorted(reader.keys_of(owner.id, texts).values()), np.int64))


def _read(connection: sa.Connection, ids: sa.SelectBase, few: int) -> Sequence[str] | None:
    """Return the ids, each once, None where there are more than `few` or other things."""
    with connection.execute(cast("sa.Select[Any]", ids)) as result:
        rows = result.fetchmany(few + 1)
    values = {row[0] for row in rows if row[0] is not None}
    if len(rows) > few or not _TYPES.issuperset(map(type, values)):
        return None
    return list({str(value) for value in values})


@contextmanager
def _explained(reader: Reader) -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        if reader.lent:
            raise
        raise StoreError(
            f"cannot read what among= selects: {error.orig}. It is run in the database that holds "
            "the collection; pass connection= to have it run by a connection of your own"
        ) from error
