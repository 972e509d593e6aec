"""Moves between models: noted by name in `meta`, begun, switched and dropped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from requant.errors import CorruptDataError, UnknownCollectionError
from requant.store import gate
from requant.store.moving import marks
from requant.store.schema import Tables

if TYPE_CHECKING:
    from requant.store.engine import Store

_NOTED = "move of "


@dataclass(frozen=True)
class Move:
    """`follower` follows `source` and takes its name when it is switched to.

    Before the first switch the follower is the collection of the new model, and after it that of
    the old one: to go back is the same once more. `id` is where the move began.
    """

    id: int
    source: int
    follower: int
    switched: bool = False

    @property
    def both(self) -> list[int]:
        """The numbers of the two collections."""
        return [self.source, self.follower]


def find(connection: sa.Connection, tables: Tables, collection: int) -> Move | None:
    """Return the move that a collection is a part of, None if it is of none."""
    return next((one for one in _every(connection, tables) if collection in one.both), None)


def begin(connection: sa.Connection, tables: Tables, source: int, follower: int) -> Move:
    """Let `follower`, which is empty, follow `source`; all of it is to be looked at."""
    move = Move(source, source, follower)
    marks.create(connection, tables, move.id, move.both)
    marks.mark_all(connection, tables, move.id, source, source)
    _note(connection, tables, move)
    return move


def remake(connection: sa.Connection, tables: Tables, move: Move) -> None:
    """Note writes again in a database that was restored, and look at all items of both."""
    if marks.is_there(connection, tables, move.id):
        return
    marks.create(connection, tables, move.id, move.both)
    for of in move.both:
        marks.mark_all(connection, tables, move.id, move.source, of)


def switch(
    connection: sa.Connection, store: Store, move: Move, names: tuple[str, str], away: str
) -> Move:
    """Give the source's name to its follower, and `away` to the source; return the move back.

    `names` are those of source and follower. Whoever goes by the old row is refused from then on.
    Raises UnknownCollectionError if one of the two is gone.
    """
    c, tables = store.tables.collections, store.tables
    for number, before, after in (
        (move.follower, names[1], f"{names[1]}.moving"),
        (move.source, names[0], away),
        (move.follower, f"{names[1]}.moving", names[0]),
    ):
        at = sa.update(c).where(c.c.id == number, c.c.name == before)
        if not connection.execute(at.values(name=after)).rowcount:
            raise UnknownCollectionError.gone(before)
    # What the follower has written itself is no news to the one that follows it now.
    marks.forget(connection, tables, move.id, move.follower)
    back = replace(move, source=move.follower, follower=move.source, switched=not move.switched)
    _note(connection, tables, back)
    return back


def alone(connection: sa.Connection, store: Store, move: Move) -> None:
    """Wait until nobody writes to either collection, and let none begin before the end."""
    if store.sql.name == "postgresql":
        for number in sorted(set(move.both)):
            gate.alone(connection, store.tables, number)


def drop_moves(connection: sa.Connection, tables: Tables, collection: int) -> None:
    """Forget the moves of a collection that is dropped, before its items are removed."""
    for move in _every(connection, tables):
        if collection in move.both:
            _forget(connection, tables, move)


def remove_all(connection: sa.Connection, tables: Tables) -> None:
    """Remove the triggers of all moves of a database that is about to be filled anew."""
    for move in _every(connection, tables):
        marks.drop(connection, tables, move.id, move.both)


def _forget(connection: sa.Connection, tables: Tables, move: Move) -> None:
    marks.drop(connection, tables, move.id, move.both)
    connection.execute(sa.delete(tables.meta).where(tables.meta.c.name == f"{_NOTED}{move.id}"))


def _every(connection: sa.Connection, tables: Tables) -> list[Move]:
    meta = tables.meta.c
    noted = sa.select(meta.name, meta.value).where(meta.name.like(f"{_NOTED}%"))
    return [_read(name, text) for name, text in connection.execute(noted)]


def _read(name: str, text: str) -> Move:
    try:
        found = json.loads(text)
        numbers = [found[field] for field in ("id", "source", "follower")]
        if all(type(n) is int and n > 0 for n in numbers):
            first, source, follower = numbers
            return Move(first, source, follower, found["switched"] is True)
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptDataError(f"{name!r:.80} is noted as {text!r:.80}") from error
    raise CorruptDataError(f"{name!r:.80} is noted as {text!r:.80}")


def _note(connection: sa.Connection, tables: Tables, move: Move) -> None:
    meta, name = tables.meta, f"{_NOTED}{move.id}"
    connection.execute(sa.delete(meta).where(meta.c.name == name))
    connection.execute(sa.insert(meta).values(name=name, value=json.dumps(asdict(move))))
