"""Some of a collection's items in the order of insertion: where they begin, and how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from requant.errors import InputError, UnknownIdError
from requant.filters import Filter
from requant.inputs import check_ids
from requant.store.decoding import Id, Item
from requant.store.reader import Reader
from requant.store.schema import CollectionRow, Tables, key_range


@dataclass(frozen=True)
class Part:
    """What is asked for: the items that meet `condition`, at most `limit`, beyond `after`."""

    condition: Filter | None = None
    limit: int | None = None
    after: Item | Id | None = None

    def __post_init__(self) -> None:
        """Refuse what is no limit and no place; raises InputError."""
        check_limit(self.limit)
        known = self.after is None or isinstance(self.after, Item | str | int | UUID | np.integer)
        if not known or isinstance(self.after, bool):
            raise InputError(
                "after takes the last item of the page before, or its id, not "
                f"{type(self.after).__name__}"
            )

    def select(
        self, reader: Reader, owner: CollectionRow, tables: Tables, *columns: sa.ColumnElement[Any]
    ) -> sa.Select[Any]:
        """Return the statement that selects `columns` of these items, in the order of their keys.

        Raises UnknownIdError where `after` is an id that is not stored.
        """
        key = tables.items.c.key
        first, end = key_range(owner.id)
        if self.after is not None:
            first = self._place(reader, owner) + 1
        statement = sa.select(*columns).where(key >= first, key < end).order_by(key)
        if self.condition is not None:
            narrowed = reader.narrowed(owner.id, self.condition, first, self.limit)
            statement = statement.where(narrowed)
        return statement if self.limit is None else statement.limit(int(self.limit))

    def _place(self, reader: Reader, owner: CollectionRow) -> int:
        if not isinstance(self.after, Item):
            (text,), _ = check_ids([self.after])
            found = reader.keys_of(owner.id, [text])
            if text not in found:
                raise UnknownIdError(
                    f"after: no item {text[:80]!r} in collection {owner.name!r}; the item itself "
                    "keeps its place though it is deleted"
                )
            return found[text]
        first, end = key_range(owner.id)
        if not isinstance(self.after.key, int) or not first <= self.after.key < end:
            raise InputError(f"after: {str(self.after.id)[:80]!r} is no item of {owner.name!r}")
        return self.after.key


def check_limit(limit: int | None) -> None:
    """Raise InputError unless a limit is None or a whole number that a database takes."""
    if limit is None:
        return
    whole = isinstance(limit, int | np.integer) and not isinstance(limit, bool)
    if not whole or not 1 <= limit < 2**63:
        huge = whole and int(limit).bit_length() > 64  # Python may refuse to write its digits
        shown = "a longer one" if huge else repr(limit)[:80]
        raise InputError(f"limit must be a whole number from 1 to 2**63 - 1, not {shown}")
