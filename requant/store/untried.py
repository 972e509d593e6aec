"""The first statement of a snapshot: it begins the snapshot, and tells whether the server is there.

A connection may have died while nobody used it; another one is tried then. PostgreSQL is told to
begin in the same message as what is asked first, which spares a round trip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requant.store.reader import Reader

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Untried:
    """Stands for a cursor until its first statement has been executed."""

    __slots__ = ("_cursor", "_reader", "_renew")

    def __init__(
        self, reader: Reader, cursor: Any, renew: Callable[[BaseException], Reader]
    ) -> None:
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
        text = f"{BEGIN}; {statement.replace('%s', str(parameters[0]))}"
        cursor.execute(text, binary=False, prepare=False)
        cursor.nextset()
        return cursor
    cursor.execute(BEGIN, binary=False, prepare=False)
    return cursor.execute(statement, parameters)
