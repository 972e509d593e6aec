"""Which documents match a query, best first, as one snapshot has them."""

from __future__ import annotations

import numpy as np

from requant.adapters.protocol import Keys
from requant.quantizers.arrays import Float32s
from requant.store.reader import Reader
from requant.store.schema import CollectionRow
from requant.store.text.building import dialect
from requant.store.text.definitions import TextIndex, not_indexed, note_of, read_note
from requant.store.text.scanning import scan, too_short
from requant.store.text.syntax import TextQuery, check_length


def text_index(reader: Reader, owner: CollectionRow) -> TextIndex | None:
    """Return the text index of a collection, None if it has none."""
    return read_note(owner.id, reader.note(note_of(owner.id)))


def matching_text(
    reader: Reader, owner: CollectionRow, query: TextQuery, limit: int | None
) -> tuple[Keys, Float32s]:
    """Return keys and scores of what matches, best first; all of it without a limit.

    Raises UnsupportedError where the collection has no text index.
    """
    connection, cursor = reader.source(bulk=False)
    index = text_index(reader, owner)
    if index is None or not index.ready:
        raise not_indexed(owner, index)
    check_length(query, trigrams=index.tokenizer == "trigram")
    if not query.groups:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    if index.tokenizer == "trigram" and too_short(query):
        rows = scan(reader, owner, query, limit)
    else:
        rows = dialect(connection).matches(cursor, reader.tables, index, query, limit)
    keys = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    return keys, np.fromiter((row[1] for row in rows), np.float32, len(rows))
