"""How a snapshot begins and ends, with fewer round trips to PostgreSQL.

Its first statement begins it, in the same message, and tells whether the server is there: a
connection may have died while nobody used it, and another one is tried then. Its rollback is waited
for by nobody: the answer is taken when the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_IDLE, _ACTIVE = 0, 1  # what psycopg calls the status of a transaction


def roll_back(raw: Any) -> None:
    """Tell the server to end the transaction of psycopg's connection; it does so at once.

    `settle` is called before anything else is done with the connection.
    """
    if raw.info.transaction_status != _IDLE:
        raw.pgconn.send_query(b"ROLLBACK")
        raw.pgconn.flush()


def settle(raw: Any) -> None:
    """Take the answer; if the connection is dead, its next statement tells."""
    if raw.info.transaction_status == _ACTIVE:
        while raw.pgconn.get_result() is not None:
            pass


class Untried:
    """Stands for a cursor until its first statement has been executed."""

    __slots__ = ("_cursor", "_reader", "_renew")

    def __init__(self, reader: Any, cursor: Any, renew: Callable[[BaseException], Any]) -> None:
        """Try for `reader`; `renew` gives another where that fails."""
        self._reader = reader
        self._cursor = cursor
        self._renew = renew

    def execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> Any:
        """Execute the first statement, on a new connection where this one is dead."""
        try:
            result = _begun(self._cursor, statement, parameters)
        except Exception as error:
            cursor = self._reader.go_on_as(self._renew(error))
            return _begun(cursor, statement, parameters)
        self._reader.go_on()
        return result

    def begin(self) -> None:
        """Begin for a statement that goes another way."""
        self.execute("SELECT 1")


def _begun(cursor: Any, statement: str, parameters: tuple[Any, ...]) -> Any:
    if len(parameters) == 1 and type(parameters[0]) is int:
        # Several statements in one message have no parameters.
        text = f"{_BEGIN}; {statement.replace('%s', str(parameters[0]))}"
        cursor.execute(text, binary=False, prepare=False)
        cursor.nextset()
        return cursor
    cursor.execute(_BEGIN, binary=False, prepare=False)
    return cursor.execute(statement, parameters)
