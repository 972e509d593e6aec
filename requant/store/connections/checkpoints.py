"""SQLite's write-ahead log, kept short although readers never pause.

SQLite itself begins the log anew only when no reader is inside it, which never happens beside a few
threads that search without pause. So whoever gives a connection back looks at the size of the log,
and past a threshold waits for the readers that are inside, for a moment at most: those that begin
meanwhile read the database itself and are not waited for.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from typing import Any

import sqlalchemy as sa

# Twice what SQLite copies by itself: what is left to be copied takes 10 to 30 ms.
LOG_BYTES = 8 << 20
# A search takes a few milliseconds; what holds a reader for longer holds it for much longer.
_PATIENCE_MS = 20
# How long to let be after a reader was waited for in vain, as a multiple of that wait.
_REST = 10
# Past this, each other write waits a little, which slows down what makes the log grow: many short
# waits meet a moment between slow readers sooner than one long wait, and none is felt.
_MUCH_BYTES = 32 << 20
_PATIENCE_AT_MUCH_MS = 35
_REST_AT_MUCH = 1
# Past this, readers stay for longer: they are waited for whenever the log has grown by a step,
# twice as long each time; so it is bounded beside searches that a busy machine takes a second for.
TOO_MUCH_BYTES = 48 << 20
_STEP_BYTES = 1 << 20
_PATIENCE_AT_TOO_MUCH_MS = 160
# Whoever has stayed for so long stays for much longer, as a backup does, and is let be for a while;
# but if more could be copied than at the time before, readers have moved on, and are only slow.
MOST_PATIENCE_MS = 2560
# So many changed rows of a connection are worth a look at the file, which costs some microseconds.
_LOOK_CHANGES = 64
_SEEN = "requant_seen_changes"
# An application may open one engine many times.
_WATCHED: weakref.WeakSet[sa.Engine] = weakref.WeakSet()


class _Keeper:
    def __init__(self, path: str, driver_error: type[Exception]) -> None:
        self._log = f"{path}-wal"
        self._error = driver_error
        self._lock = threading.Lock()
        self._rests_until = 0.0
        self._rests_below = 0
        self._copied = 0
        self._in_vain = 0

    def look(self, raw: Any) -> None:
        try:
            size = os.stat(self._log).st_size  # noqa: PTH116
        except OSError:
            return
        if size < LOG_BYTES or time.monotonic() < self._rests_until:
            return
        if TOO_MUCH_BYTES < size < self._rests_below:
            return
        if self._lock.acquire(blocking=False):
            try:
                self._shorten(raw, size)
            finally:
                self._lock.release()

    def _patience(self, size: int) -> tuple[int, int]:
        """Return for how many milliseconds to wait, and how many times as long to rest then.

        That is, if nobody has moved on.
        """
        if size > TOO_MUCH_BYTES:
            patience = min(_PATIENCE_AT_TOO_MUCH_MS << self._in_vain, MOST_PATIENCE_MS)
            self._in_vain = min(self._in_vain + 1, 10)
            self._rests_below = size + _STEP_BYTES
            return patience, _REST if patience == MOST_PATIENCE_MS else 0
        self._in_vain = 0
        if size > _MUCH_BYTES:
            return _PATIENCE_AT_MUCH_MS, _REST_AT_MUCH
        return _PATIENCE_MS, _REST

    def _shorten(self, raw: Any, size: int) -> None:
        patience, rest = self._patience(size)
        (before,) = raw.execute("PRAGMA busy_timeout").fetchone()
        raw.execute(f"PRAGMA busy_timeout = {patience}")
        try:
            (busy, _, copied) = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except self._error:  # another connection is at it, or writing
            busy, copied = 1, self._copied
        finally:
            raw.execute(f"PRAGMA busy_timeout = {before:d}")
        moved = size > TOO_MUCH_BYTES and copied > self._copied
        if busy and not moved:
            self._rests_until = time.monotonic() + rest * patience / 1000
        self._copied = copied


def keep_log_short(engine: sa.Engine) -> None:
    """Look at the log of a SQLite file whenever a connection comes back to the pool of `engine`."""
    if engine in _WATCHED:
        return
    _WATCHED.add(engine)
    driver: Any = engine.dialect.loaded_dbapi
    keeper = _Keeper(str(engine.url.database), driver.Error)

    def came_back(raw: Any, record: Any) -> None:
        if raw is None or raw.total_changes - record.info.get(_SEEN, 0) < _LOOK_CHANGES:
            return
        record.info[_SEEN] = raw.total_changes
        if not raw.in_transaction:
            with contextlib.suppress(driver.Error):
                keeper.look(raw)

    sa.event.listen(engine, "checkin", came_back)
