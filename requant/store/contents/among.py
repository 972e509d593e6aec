"""The keys of items that a statement of the application's own names by their ids."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import sqlalchemy as sa

from requant.adapters.protocol import Keys
from requant.errors import StoreError
from requant.filters import select_keys
from requant.inputs import check_ids
from requant.store.reader import Reader
from requant.store.schema import CollectionRow


def keys_among(reader: Reader, owner: CollectionRow, ids: sa.SelectBase) -> Keys:
    """Return the keys, in order, of the items that have one of the ids that `ids` selects.

    Raises InputError where it selects what is no id.
    """
    connection, _ = reader.source()
    statement = select_keys(ids, reader.tables.items, owner.id, connection.dialect)
    try:
        if statement is not None:
            # Sorted here: the database might look at all items in their order, else.
            return np.sort(np.array(connection.execute(statement).scalars().all(), np.int64))
        values = connection.execute(cast("sa.Select[Any]", ids)).scalars().all()
    except sa.exc.DBAPIError as error:
        if reader.lent:
            raise
        raise StoreError(
            f"cannot read what among= selects: {error.orig}. It is run in the database that holds "
            "the collection; pass connection= to have it run by a connection of your own"
        ) from error
    texts, _ = check_ids(value for value in values if value is not None)
    return np.array(sorted(reader.keys_of(owner.id, texts).values()), np.int64)
