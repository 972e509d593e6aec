"""Whether a text index is in step with the documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from requant.store.connections import plain_cursor
from requant.store.reader import Reader
from requant.store.schema import CollectionRow
from requant.store.text.building import dialect, take_turn
from requant.store.text.definitions import TextIndex

if TYPE_CHECKING:
    from requant.store.engine import Store


class OutOfStep(NamedTuple):
    """What is gone of the index, and the keys of what it lacks, and of what it has too much."""

    absent: list[str]
    lacking: list[int]
    strange: list[int]


def text_out_of_step(reader: Reader, index: TextIndex) -> OutOfStep:
    """Compare the keys that are indexed with those of the documents."""
    connection, cursor = reader.source()
    ways = dialect(connection)
    absent = ways.absent(cursor, reader.tables, index)
    if index.name(reader.tables) in absent:
        return OutOfStep(absent, [], [])
    return OutOfStep(absent, *ways.out_of_step(cursor, reader.tables, index))


def text_differs(store: Store, owner: CollectionRow, index: TextIndex) -> bool:
    """Whether other words are indexed than those of the documents."""
    with store.writing(turn=owner.id) as connection:
        take_turn(connection, store.tables, owner)
        if dialect(connection).absent(plain_cursor(connection), store.tables, index):
            return False  # which is told in any case
        return bool(dialect(connection).differs(connection, store.tables, index))
