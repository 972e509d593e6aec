"""How a snapshot begins and ends, and a write begins, with fewer round trips to PostgreSQL.

Its first statement begins it, in the same message, and tells whether the server is there: a
connection may have died while nobody used it, and another one is tried then. Several statements in
one message are planned each time, so that the first is prepared by name, as psycopg does with
others, once the connection has proved to last. Its rollback is waited for by nobody: the answer is
taken when the next one begins. A statement that stands alone begins nothing: it is a snapshot by
itself.

What begins a write tells the same, in place of the ping of SQLAlchemy's pool.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

_BEGIN_TO_WRITE = b"BEGIN ISOLATION LEVEL READ COMMITTED"
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_IDLE, _ACTIVE, _BEGUN = 0, 1, 2  # what psycopg calls the status of a transaction
_THREAD = threading.local()  # `begins` where it needs no ping
# In the `info` of a connection: how often statements were its first; of one that is not prepared.
_KEY, _NEVER_AGAIN = "requant_named", -(1 << 62)
# Also there: whether a statement that begins nothing is in nobody's way.
_ALONE = "requant_alone"
# SQLSTATEs of a name that the server has lost, or had already, or whose tables are others by now.
_UNUSABLE = ("26000", "42P05", "0A000")


def roll_back(raw: Any) -> None:
    """Tell the server to end the transaction of psycopg's connection; it does so at once.

    `settle` is called before anything else is done with the connection.
    """
    if raw.pgconn.transaction_status != _IDLE:
        raw.pgconn.send_query(b"ROLLBACK")
        raw.pgconn.flush()


def settle(raw: Any) -> None:
    """Take the answer; if the connection is dead, its next statement tells."""
    if raw.pgconn.transaction_status == _ACTIVE:
        while raw.pgconn.get_result() is not None:
            pass


def end(raw: Any) -> None:
    """Let no transaction be left, also of a statement that failed: a pool may see to none."""
    settle(raw)
    roll_back(raw)
    settle(raw)


def spare_pings(engine: sa.Engine) -> None:
    """Let `begun` go without the ping of the pool of an engine that has one."""
    dialect: Any = engine.dialect
    ping = dialect.do_ping
    dialect.do_ping = lambda raw: getattr(_THREAD, "begins", False) or ping(raw)


@contextmanager
def begun(engine: sa.Engine, pinged: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection of an engine that spares pings; a transaction to write in has begun.

    Where that fails, it is one of the same pool by way of `pinged`, and begins as ever: all
    connections of that age may be dead.
    """
    with _unpinged():
        connection = engine.connect()
    alive = False
    try:
        alive = _begin(connection.connection.driver_connection)
    finally:
        if not alive:
            connection.invalidate()
            connection.close()
    with connection if alive else pinged.connect() as one:
        yield one


@contextmanager
def _unpinged() -> Iterator[None]:
    _THREAD.begins = True
    try:
        yield
    finally:
        _THREAD.begins = False


def _begin(raw: Any) -> bool:
    from psycopg import OperationalError
    from psycopg.generators import execute

    with contextlib.suppress(OperationalError):
        raw.pgconn.send_query(_BEGIN_TO_WRITE)
        raw.wait(execute(raw.pgconn))
    return bool(raw.info.transaction_status == _BEGUN)


class Untried:
    """Stands for a cursor until its first statement has been executed."""

    __slots__ = ("_cursor", "_info", "_reader", "_renew")

    def __init__(
        self,
        reader: Any,
        cursor: Any,
        info: dict[Any, Any],
        renew: Callable[[BaseException], Any],
    ) -> None:
        """Try for `reader`; `renew` gives another where that fails.

        In `info`, which lasts as long as the connection, stands what it has prepared.
        """
        self._reader = reader
        self._cursor = cursor
        self._info = info
        self._renew = renew

    def execute(
        self, statement: str, parameters: tuple[Any, ...] = (), *, alone: bool = False
    ) -> Any:
        """Execute the first statement, on a new connection where this one is dead.

        With `alone` it is the last one as well; what follows all the same begins a snapshot.
        """
        try:
            if alone and _stands_alone(self._cursor, self._info):
                return self._cursor.execute(statement, parameters)
            result = _begun(self._cursor, statement, parameters, self._info)
        except Exception as error:
            cursor = self._reader.go_on_as(self._renew(error))
            return _begun(cursor, statement, parameters, {})
        self._reader.go_on()
        return result

    def begin(self) -> None:
        """Begin for a statement that goes another way."""
        self.execute("SELECT 1")


def _stands_alone(cursor: Any, info: dict[Any, Any]) -> bool:
    """Whether statements may be left to the server's default: transactions that are SERIALIZABLE
    fail by each other, and one that begins here says that it is not.
    """
    if _ALONE not in info:
        row = cursor.execute("SHOW default_transaction_isolation", prepare=False).fetchone()
        info[_ALONE] = row[0] != "serializable"
    return bool(info[_ALONE])


def _begun(cursor: Any, statement: str, parameters: tuple[Any, ...], info: dict[Any, Any]) -> Any:
    if len(parameters) != 1 or type(parameters[0]) is not int:
        # Several statements in one message have no parameters.
        cursor.execute(_BEGIN, binary=False, prepare=False)
        return cursor.execute(statement, parameters)
    counts = info.setdefault(_KEY, {})
    # Nothing is prepared behind a pooler, nor where the application wants it so.
    threshold, used = cursor.connection.prepare_threshold, counts.get(statement, 0)
    counts[statement] = used + 1
    if threshold is None or used < threshold:
        return _last_of(cursor, statement.replace("%s", str(parameters[0])))
    name, definition = _named(statement)
    call = f"EXECUTE {name}({parameters[0]})"
    try:
        return _last_of(cursor, f"{definition}; {call}" if used == threshold else call)
    except Exception as error:
        if getattr(error, "sqlstate", None) not in _UNUSABLE:
            raise
    cursor.execute("ROLLBACK", binary=False, prepare=False)
    counts[statement] = _NEVER_AGAIN
    return _last_of(cursor, statement.replace("%s", str(parameters[0])))


def _last_of(cursor: Any, text: str) -> Any:
    """Begin, execute what is given as one message, and return its last result."""
    cursor.execute(f"{_BEGIN}; {text}", binary=False, prepare=False)
    while cursor.nextset():
        pass
    return cursor


@lru_cache(maxsize=64)
def _named(statement: str) -> tuple[str, str]:
    """Return a name for a statement, the same for whoever prepares it, and what prepares it."""
    name = f"requant_{sha256(statement.encode()).hexdigest()[:16]}"
    return name, f"PREPARE {name} (bigint) AS {statement.replace('%s', '$1')}"
