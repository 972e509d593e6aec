"""Which connections of a SQLite engine a thread has taken from its pool, and written with.

SQLite has one turn for all writers: a thread that has written with one connection, and has not
ended that transaction, would wait for itself with another until the driver's patience ends.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import Any

import sqlalchemy as sa

_KEY = "requant_taken"
_ENGINES: weakref.WeakKeyDictionary[sa.Engine, Taken] = weakref.WeakKeyDictionary()


class Taken:
    """The connections of one engine by the thread that has taken them."""

    def __init__(self, engine: sa.Engine) -> None:
        """Listen to the pool of `engine`; use `taken_of`, so that it is done once."""
        self._local = threading.local()
        sa.event.listen(engine, "checkout", self._taken)
        sa.event.listen(engine, "checkin", self._given_back)
        sa.event.listen(engine, "detach", self._given_back)  # it does not come back

    def this_thread_writes(self) -> bool:
        """Whether this thread has changed rows in a transaction that is still open."""
        for record, changes in getattr(self._local, "here", ()):
            raw = record.dbapi_connection
            if raw is not None and raw.in_transaction and raw.total_changes != changes:
                return True
        return False

    def _taken(self, raw: Any, record: Any, _fairy: object) -> None:
        try:
            here = self._local.here
        except AttributeError:
            here = self._local.here = []
        entry = (record, raw.total_changes)
        here.append(entry)
        record.info[_KEY] = (here, entry)

    def _given_back(self, _raw: object, record: Any) -> None:
        here, entry = record.info.pop(_KEY, (None, None))
        if here is not None:  # perhaps of another thread
            with contextlib.suppress(ValueError):
                here.remove(entry)


def taken_of(engine: sa.Engine) -> Taken:
    """Return what is known of an engine's connections from now on."""
    if engine not in _ENGINES:
        _ENGINES[engine] = Taken(engine)
    return _ENGINES[engine]
