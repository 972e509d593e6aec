"""A connection that may have died while nobody used it: its first statement tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requant.store.reader import Reader


class Untried:
    """Stands for a cursor until its first statement has shown that the connection lives."""

    __slots__ = ("_cursor", "_reader", "_renew")

    def __init__(
        self, reader: Reader, cursor: Any, renew: Callable[[BaseException], Reader]
    ) -> None:
        """Try for `reader`; `renew` gives another where that fails."""
        self._reader = reader
        self._cursor = cursor
        self._renew = renew

    def execute(self, *statement: Any) -> Any:
        """Execute the first statement, on a new connection where this one is dead."""
        try:
            result = self._cursor.execute(*statement)
        except Exception as error:
            return self._reader.go_on_as(self._renew(error)).execute(*statement)
        self._reader.go_on()
        return result
