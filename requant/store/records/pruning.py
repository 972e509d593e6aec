"""What no index needs any more: older generations, their quantizers, changes that were followed."""

from __future__ import annotations

import sqlalchemy as sa

from requant.store.engine import Store

# The newest, and one to fall back on.
KEPT_GENERATIONS = 2


def prune(connection: sa.Connection, store: Store, index: int) -> set[str]:
    """Forget generations and quantizers that no kept generation needs."""
    t = store.tables
    g = t.generations
    newest = sa.select(g.c.generation).where(g.c.index_id == index)
    newest = newest.order_by(g.c.generation.desc()).limit(KEPT_GENERATIONS)
    kept = connection.execute(newest).scalars().all()
    old = sa.and_(g.c.index_id == index, g.c.generation < kept[-1])
    files = set(connection.execute(sa.select(g.c.file).where(old)).scalars())
    connection.execute(sa.delete(g).where(old))
    used = sa.select(g.c.fingerprint)
    connection.execute(sa.delete(t.quantizers).where(t.quantizers.c.fingerprint.not_in(used)))
    return files


def is_free(connection: sa.Connection, store: Store, collection: int) -> bool:
    """Take the row of a collection unless another transaction has it; SQLite's turn is whole."""
    if store.sql.name == "sqlite":
        return True
    row = sa.select(store.tables.collections.c.id).where(
        store.tables.collections.c.id == collection
    )
    # Who writes does not matter, who gives numbers does.
    free = row.with_for_update(skip_locked=True, key_share=True)
    return connection.execute(free).scalar() is not None


def prune_log(connection: sa.Connection, store: Store, collection: int) -> None:
    """Forget changes that no kept generation needs; the collection's row has been taken."""
    t = store.tables
    g, changes, collections = t.generations, t.changes, t.collections
    needed = connection.execute(
        sa.select(sa.func.min(g.c.applied_seq))
        .select_from(t.indexes.outerjoin(g, g.c.index_id == t.indexes.c.id))
        .where(t.indexes.c.collection_id == collection)
        .group_by(t.indexes.c.id)
    ).scalars()
    floors = list(needed)
    if None in floors:
        return  # an index that has never been published may be reading the log right now
    floor = min(floors)
    pruned = sa.and_(changes.c.collection_id == collection, changes.c.seq <= floor)
    connection.execute(sa.delete(changes).where(pruned))
    at = sa.and_(collections.c.id == collection, collections.c.log_floor < floor)
    connection.execute(sa.update(collections).where(at).values(log_floor=floor))
