"""Who has to be alone with a collection of PostgreSQL, and waits until nobody writes to it.

Who writes passes the collection's gate, as an advisory lock that all of them share until they
commit. Whoever clears or drops the collection, or begins to index a field, closes it. A lock of the
row would not do: as long as others share it one after the other, its turn never comes.

Before the gate is a door, which who writes only steps through: a read in a caller's transaction
that is overtaken again and again shuts it for a moment. It waits for nobody then, and what may
still overtake it are those who had begun to write before.
"""

# ruff: noqa: S608 -- the names are our own
from __future__ import annotations

import sqlalchemy as sa

from requant.store.schema import Tables

_ALONE, _DOOR = 0x7265_7174, 0x3265_7174
# So long, in milliseconds, writers are kept waiting behind us at first, and then ever longer: it
# may be one of them that those wait for who have passed. PostgreSQL looks for such circles in 1000.
_TIMES = (100, 200, 400, 800)
_LOCK_TIMEOUT = "55P03"
# SQLSTATEs of who could not have a lock by now: that wait, or one of a circle, was ended.
BARRED = (_LOCK_TIMEOUT, "40P01")
# Advisory locks are shared by whole databases, and by all sets of requant's tables in one.
_WHICH = "(({} # tableoid::int), id::int)"

# In the list of a SELECT from requant_collections: whoever writes waits there, and passes.
PASSING = (
    f"pg_advisory_lock_shared{_WHICH.format(_DOOR)}, "
    f"pg_advisory_unlock_shared{_WHICH.format(_DOOR)}, "
    f"pg_advisory_xact_lock_shared{_WHICH.format(_ALONE)}"
)
CLOSING = f"pg_advisory_xact_lock{_WHICH.format(_ALONE)}"
# On a standby nobody who writes would notice.
SHUT = (
    f"SELECT pg_advisory_xact_lock{_WHICH.format(_DOOR)} FROM requant_collections "
    "WHERE id = %s AND NOT pg_is_in_recovery()"
)


def alone(connection: sa.Connection, tables: Tables, collection: int) -> None:
    """Wait until no other transaction writes to a collection, and let none begin before us."""
    before = connection.exec_driver_sql("SHOW lock_timeout").scalar()
    text = f"SELECT {CLOSING} FROM {tables.quoted('collections')} WHERE id = {collection:d}"
    lock = sa.text(text)
    for time in _TIMES:
        point = connection.begin_nested()
        try:
            connection.execute(_set(f"{time}ms"))
            connection.execute(lock)
        except sa.exc.DBAPIError as error:
            point.rollback()
            if getattr(error.orig, "sqlstate", None) != _LOCK_TIMEOUT:
                raise
            continue
        point.commit()
        connection.execute(_set(str(before)))
        return
    connection.execute(lock)


def _set(timeout: str) -> sa.Select[tuple[object]]:
    return sa.select(sa.func.set_config("lock_timeout", timeout, True))
