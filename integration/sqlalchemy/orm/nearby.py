"""The collection asked within a session's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from requant.integration.sqlalchemy.orm.mapped import Mapped
from requant.quantizers.arrays import as_vector
from requant.scores import score


def nearest_keys(
    mapped: Mapped,
    session: Session,
    connection: sa.Connection,
    query: Any,
    k: int,
    among: sa.Select[Any] | None,
    where: Mapping[str, Any] | None,
    how: Mapping[str, Any],
) -> list[tuple[Any, float]]:
    """Return (primary key, score) of the nearest items; None for an id that is no primary key."""
    keys = None if among is None else list(session.scalars(among))
    vector = as_vector(query, mapped.vector.dim)[0]
    items = mapped.collection.get(keys, where=where, vectors=True, connection=connection)
    items = [item for item in items if item.vector is not None]
    if not items:
        return []
    rows = np.array([item.vector for item in items], np.float32)
    scores = score(vector, rows, mapped.vector.metric)
    order = np.lexsort((np.arange(len(items)), -scores))[:k]
    return [(mapped.as_key(items[at].id), float(scores[at])) for at in order]
