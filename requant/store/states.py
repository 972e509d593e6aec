"""How far a collection has been written, and how far an index has followed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from requant.store.history import NOTHING, Fresh, fresh_of


class CollectionState(NamedTuple):
    """How far a collection has been written: what an index must have followed to be current.

    On PostgreSQL that is what has been numbered; `fresh` is what was committed since.
    """

    next_key: int  # of what is numbered; there may be fresh items from here on
    seq: int
    log_floor: int
    active: int | None
    run: str | None  # the name of the latest run of writes, see `requant.store.history.turns`
    fields: int | None = None  # the number of the indexed fields as they are
    fresh: Fresh = NOTHING

    @property
    def end(self) -> int:
        """No item that is there has a key from here on."""
        return max(self.next_key, self.fresh.end)

    def before(self, key: int) -> CollectionState:
        """Return this state without the items from `key` on."""
        return self._replace(next_key=key, fresh=NOTHING)

    @property
    def seen(self) -> Seen:
        """What whoever has looked at this state remembers of it."""
        return Seen(self.seq, self.run)


def state_of_rows(rows: Sequence[Sequence[Any]]) -> CollectionState:
    """Return the state that `HotSql.state` tells of: a row, or one for each fresh write.

    After the state comes the name of the collection, which is looked at before.
    """
    state = CollectionState(*rows[0][:6])
    if rows[0][7:8] in ((), (None,)):
        return state
    tokens, fields, *columns = zip(*(row[7:] for row in rows), strict=True)
    fresh = fresh_of(tokens, *map(b"".join, columns))
    # Fields are in step unless somebody has left a write who did not know of them.
    in_step = all(one == state.fields for one in fields)
    return state._replace(fresh=fresh, fields=state.fields if in_step else None)


class Seen(NamedTuple):
    """The write up to which a store was looked at: its number, and the run that it belongs to."""

    seq: int
    run: str | None


@dataclass(frozen=True)
class Watermark:
    """How far an index has followed the store: all keys below `key`, all changes up to `seq`."""

    key: int
    seq: int

    @property
    def rank(self) -> tuple[int, int]:
        """By what one watermark is further than another."""
        return self.seq, self.key

    def covers(self, state: CollectionState) -> bool:
        """Whether nothing that is numbered is left to follow.

        A part of a build has the changes but not all keys.
        """
        return self.seq >= state.seq and self.key >= state.next_key


class Head(NamedTuple):
    """Where the newest generation of a live index stands, and how far it has followed."""

    name: str
    reaching: int
    mark: Watermark
    items: int
