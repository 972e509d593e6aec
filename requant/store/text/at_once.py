"""What matches a query and the items themselves, by one statement.

A statement is a snapshot by itself, so that nothing is begun or ended for it: of a search by words
alone a round trip to PostgreSQL is most of the time. Which statement it is depends on how the text
index was made, which is known from the search before; the statement tells whether that is so still.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

from requant.store.decoding import RawItem
from requant.store.reader import Reader
from requant.store.schema import CollectionRow, key_range
from requant.store.statements import with_fields
from requant.store.text.building import dialect
from requant.store.text.definitions import TextIndex, note_of, read_note
from requant.store.text.scanning import too_short
from requant.store.text.syntax import TextQuery, check_length

if TYPE_CHECKING:
    from requant.store.engine import Store

_AT_ONCE = """SELECT c.name, n.value, c.next_key, m.score,
i.key, i.ext_id, i.id_kind, i.document, i.metadata FROM {collections} AS c
LEFT JOIN {meta} AS n ON n.name = '{note}' LEFT JOIN ({matching}) AS m ON true
LEFT JOIN {items} AS i ON i.key = m.key WHERE c.id = {collection}"""
# So often a search goes the ordinary way, which gives a number to what was written since.
_ORDINARY = 256
# Of PostgreSQL: a table, parser or function that is gone.
_GONE = ("42P01", "42704", "42883")


class AtOnce:
    """Asks the text index of one collection, as long as it is what it was."""

    def __init__(self, store: Store, owner: CollectionRow) -> None:
        """Know nothing of it yet."""
        self._tables = store.tables
        self._ways = dialect(store.engine)
        driver: Any = store.engine.dialect.loaded_dbapi
        self._failures: tuple[type[Exception], ...] = (driver.Error, UnicodeEncodeError)
        self._owner = owner
        self._known: tuple[str | None, TextIndex | None] = None, None  # as noted, and as read
        self._searches = count()
        self._size = 0  # how many items there have been, as a power of 2
        self._whole = lru_cache(maxsize=32)(self._made)

    def found(
        self, reader: Reader, query: TextQuery, limit: int, fields: frozenset[str]
    ) -> list[tuple[float, RawItem]] | None:
        """Return scores and items, best first, of which nothing is read but id and `fields`.

        None where it takes more than one statement, or the index is another by now, or none. Of a
        reader nothing else is to be read before or after.
        """
        if next(self._searches) % _ORDINARY == 0:
            return None
        owner = self._owner
        if self._known[1] is None:
            reader.state_of(owner, "text")
            noted = reader.note(note_of(owner.id))
            self._known = noted, read_note(owner.id, noted)
        noted, index = self._known
        if index is None or not index.ready:
            self._known = None, None
            return None
        check_length(query, trigrams=index.tokenizer == "trigram")
        if not query.groups or (index.tokenizer == "trigram" and too_short(query)):
            return None
        rows = self._rows(reader, index, query, limit, fields)
        if not rows or rows[0][:2] != (owner.name, noted):
            self._known = None, None
            return None
        self._size = (rows[0][2] - key_range(owner.id)[0]).bit_length()
        found = [(row[3], row[4:]) for row in rows if row[4] is not None]
        found.sort(key=lambda one: (-one[0], one[1][0]))
        return found

    def _rows(
        self,
        reader: Reader,
        index: TextIndex,
        query: TextQuery,
        limit: int,
        fields: frozenset[str],
    ) -> list[Any]:
        """Return what the statement does; nothing where the ordinary way is to tell why."""
        matching, texts = self._ways.matching(index, query, limit, self._size)
        if not matching:
            return []
        try:
            return reader.at_once(self._whole(matching, index, fields), texts)
        except self._failures as error:
            gone = getattr(error, "sqlstate", None) in _GONE or "no such table" in str(error)
            if gone or isinstance(error, UnicodeEncodeError):
                return []
            raise

    def _made(self, matching: str, index: TextIndex, fields: frozenset[str]) -> str:
        tables = self._tables
        return with_fields(_AT_ONCE, fields).format(
            meta=tables.quoted("meta"),
            note=note_of(index.collection),
            collections=tables.quoted("collections"),
            matching=self._ways.named(matching, tables, index),
            items=tables.quoted("items"),
            collection=index.collection,
        )
