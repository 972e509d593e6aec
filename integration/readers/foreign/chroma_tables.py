"""What Chroma keeps in SQLite: collections, ids, documents and metadata."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from requant.integration.errors import SourceError
from requant.integration.readers.foreign.listed import Metric

_DOCUMENT = "chroma:document"
_URI = "chroma:uri"
_METRICS: dict[str | None, Metric] = {"cosine": "cosine", "ip": "ip", "l2": "l2"}


@dataclass(frozen=True)
class Collection:
    """A collection and its two segments: where its vectors and where its metadata are."""

    id: str
    name: str
    dim: int | None
    metric: Metric
    vectors: str
    metadata: str


@dataclass(frozen=True)
class Item:
    """One id with its document and its metadata; None where there is none."""

    id: str
    document: str | None
    metadata: dict[str, Any] | None


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open `chroma.sqlite3` for reading only; errors of SQLite become SourceError."""
    try:
        # Not `immutable`: a log beside the file, left by a process that died, must be read too.
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise SourceError(f"{path} cannot be opened: {error}") from error
    try:
        yield database
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    finally:
        database.close()


def collections(database: sqlite3.Connection) -> list[Collection]:
    """Return the collections in the order of their names; raises SourceError."""
    columns = {row[1] for row in database.execute("PRAGMA table_info(collections)")}
    if not {"id", "name", "dimension"} <= columns:
        raise SourceError("chroma.sqlite3 has no table of collections: is it Chroma 0.4 or later?")
    configs = [
        f"c.{name}" if name in columns else "NULL" for name in ("schema_str", "config_json_str")
    ]
    rows = database.execute(
        f"SELECT c.id, c.name, c.dimension, v.id, m.id, {', '.join(configs)}, "  # noqa: S608
        "(SELECT str_value FROM segment_metadata WHERE segment_id = v.id AND key = 'hnsw:space'), "
        "(SELECT str_value FROM collection_metadata WHERE collection_id = c.id "
        "AND key = 'hnsw:space') FROM collections c "
        "LEFT JOIN segments v ON v.collection = c.id AND v.scope = 'VECTOR' "
        "LEFT JOIN segments m ON m.collection = c.id AND m.scope = 'METADATA' ORDER BY c.name"
    )
    return [
        Collection(key, name, dim, _metric(told), str(vectors), str(metadata))
        for key, name, dim, vectors, metadata, *told in rows
    ]


def _metric(told: Sequence[str | None]) -> Metric:
    """Return the space, where each version keeps it: schema, configuration, metadata; else l2.

    The `hnsw_configuration` of 0.5 is passed over: it says l2 whatever the space is.
    """
    schema, configuration, *metadata = told
    of_schema = ("keys", "#embedding", "float_list", "vector_index", "config", "space")
    spaces = [_at(schema, of_schema), _at(configuration, ("hnsw", "space")), *metadata]
    return next((_METRICS[space] for space in spaces if space in _METRICS), "l2")


def _at(text: str | None, path: Sequence[str]) -> str | None:
    """Return what a JSON text has at a path of keys, if it is text."""
    try:
        value = json.loads(text or "null")
    except ValueError:
        return None
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def applied(database: sqlite3.Connection, segment: str) -> int | None:
    """Return the number of the last log entry a segment has seen, if the database tells it."""
    row = database.execute("SELECT seq_id FROM max_seq_id WHERE segment_id = ?", (segment,))
    found = row.fetchone()
    if found is None or found[0] is None:
        return None
    # Before 0.5.4 it was eight or twenty-four bytes, big end first.
    return int.from_bytes(found[0], "big") if isinstance(found[0], bytes) else int(found[0])


def items(database: sqlite3.Connection, collection: Collection) -> list[Item]:
    """Return the items of a collection in the order they were added."""
    values: dict[int, dict[str, Any]] = defaultdict(dict)
    for row, key, *kinds in _stored(database, "embedding_metadata", collection):
        values[row][key] = _value(*kinds)
    if _has(database, "embedding_metadata_array"):
        for row, key, *kinds in _stored(database, "embedding_metadata_array", collection):
            values[row].setdefault(key, []).append(_value(*kinds))
    ids = database.execute(
        "SELECT id, embedding_id FROM embeddings WHERE segment_id = ? ORDER BY id",
        (collection.metadata,),
    )
    return [_item(name, values.get(key, {})) for key, name in ids]


def _stored(database: sqlite3.Connection, table: str, collection: Collection) -> sqlite3.Cursor:
    """Return the rows of a table of metadata: item, key, and the value in one of four columns."""
    query = (
        "SELECT m.id, m.key, m.string_value, m.int_value, m.float_value, m.bool_value "  # noqa: S608
        f"FROM {table} m JOIN embeddings e ON e.id = m.id WHERE e.segment_id = ? ORDER BY m.rowid"
    )
    return database.execute(query, (collection.metadata,))


def _has(database: sqlite3.Connection, table: str) -> bool:
    found = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
    return found.fetchone() is not None


def _value(text: str | None, whole: int | None, real: float | None, truth: int | None) -> Any:
    if truth is not None:
        return bool(truth)
    return next((value for value in (text, whole, real) if value is not None), None)


def _item(name: str, values: dict[str, Any]) -> Item:
    document = values.get(_DOCUMENT)
    metadata = {key: value for key, value in values.items() if key != _DOCUMENT}
    if _URI in metadata:
        metadata["uri"] = metadata.pop(_URI)
    return Item(name, document, metadata or None)
