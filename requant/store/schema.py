"""The tables: one schema for SQLite and PostgreSQL, also inside an application's MetaData."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from requant.scores import Metric

SCHEMA_VERSION = 5

# A collection owns the keys [id << KEY_BITS, (id + 1) << KEY_BITS): one contiguous range.
KEY_BITS = 40
MAX_COLLECTIONS = 1 << 22  # engines take keys below 2**62

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


@dataclass(frozen=True)
class Tables:
    """The tables of one store."""

    metadata: sa.MetaData
    meta: sa.Table
    collections: sa.Table
    items: sa.Table
    vectors: sa.Table
    changes: sa.Table
    runs: sa.Table
    quantizers: sa.Table
    indexes: sa.Table
    generations: sa.Table
    locations: sa.Table
    migrations: sa.Table
    aliases: sa.Table
    fields: sa.Table
    values: sa.Table


@dataclass(frozen=True)
class CollectionRow:
    """What never changes about a collection."""

    id: int
    name: str
    dim: int
    metric: Metric


def key_range(collection: int) -> tuple[int, int]:
    """Return the first key of a collection and the first key after it."""
    return collection << KEY_BITS, (collection + 1) << KEY_BITS


def collection_of(key: int) -> int:
    """Return the collection that owns a key."""
    return key >> KEY_BITS


def build_tables(metadata: sa.MetaData | None = None) -> Tables:
    """Add requant's tables, all named `requant_...`, to `metadata`; once for each MetaData."""
    metadata = metadata if metadata is not None else sa.MetaData()
    if "requant_meta" not in metadata.tables:
        _catalog(metadata)
        _content(metadata)
        _ledger(metadata)
        _fields(metadata)
    names = Tables.__dataclass_fields__.keys() - {"metadata"}
    return Tables(metadata, **{name: metadata.tables[f"requant_{name}"] for name in names})


def add_missing_columns(tables: Tables, connection: sa.Connection) -> None:
    """Bring tables of an older schema up to date; what is new may be absent in every row."""
    inspector = sa.inspect(connection)
    quote = connection.dialect.identifier_preparer.quote
    for field in Tables.__dataclass_fields__.keys() - {"metadata"}:
        table: sa.Table = getattr(tables, field)
        there = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                kind = column.type.compile(connection.dialect)
                add = f"ALTER TABLE {quote(table.name)} ADD COLUMN {quote(column.name)} {kind}"
                connection.execute(sa.text(add))


def _catalog(metadata: sa.MetaData) -> None:
    sa.Table(
        "requant_meta",
        metadata,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    sa.Table(
        "requant_collections",
        metadata,
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("dim", sa.Integer, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("next_key", _BIG, nullable=False),  # the key of the next new item
        sa.Column("seq", _BIG, nullable=False),  # counts write transactions
        sa.Column("log_floor", _BIG, nullable=False),  # changes up to this seq are pruned
        sa.Column("logging", sa.Boolean, nullable=False),  # whether any index follows
        sa.Column("active", _BIG),  # the id of the index that searches use
        sa.Column("options", sa.Text),  # JSON; new in schema 3
        sa.Column("run", sa.Text),  # the name of the latest of its runs; new in schema 4
        # A random number of the indexed fields as they are, None without any; new in schema 5. The
        # fields are in step as long as every write says so: a requant of schema 4 does not.
        sa.Column("fields", _BIG),
        sa.Column("fields_seq", _BIG),
        sqlite_autoincrement=True,  # an id is never reused, so neither is a key
    )


def _content(metadata: sa.MetaData) -> None:
    sa.Table(
        "requant_items",
        metadata,
        sa.Column("key", _BIG, primary_key=True, autoincrement=False),
        sa.Column("collection_id", _BIG, nullable=False),
        sa.Column("ext_id", sa.Text, nullable=False),
        sa.Column("id_kind", sa.SmallInteger, nullable=False),  # str, int or UUID: round trips
        sa.Column("document", sa.Text),
        sa.Column("metadata", sa.Text),  # JSON text as written: big integers and order survive
        sa.UniqueConstraint("collection_id", "ext_id"),
    )
    sa.Table(
        "requant_vectors",
        metadata,
        sa.Column("key", _BIG, primary_key=True, autoincrement=False),
        sa.Column("vec", sa.LargeBinary, nullable=False),  # little-endian float32
        sa.Column("crc", _BIG, nullable=False),  # CRC-32 of vec
    )
    sa.Table(
        "requant_changes",
        metadata,
        sa.Column("collection_id", _BIG, primary_key=True),
        sa.Column("seq", _BIG, primary_key=True, autoincrement=False),
        sa.Column("key", _BIG, primary_key=True, autoincrement=False),
        sa.Column("xid", _BIG),  # the transaction that wrote it, where they overlap; schema 3
        sqlite_with_rowid=False,
    )
    sa.Table(  # writes that followed one another, nothing lost between them; new in schema 4
        "requant_runs",
        metadata,
        sa.Column("collection_id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("start", _BIG, primary_key=True, autoincrement=False),  # the seq of the first
        sa.Column("name", sa.Text, nullable=False),  # random
        sqlite_with_rowid=False,
    )


def _fields(metadata: sa.MetaData) -> None:
    """What is indexed of metadata; new in schema 5."""
    sa.Table(
        "requant_fields",
        metadata,
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("collection_id", _BIG, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text),
        sa.Column("ready", sa.Boolean, nullable=False),
        sa.Column("built", _BIG, nullable=False),  # of what is not ready: keys below are listed
        sa.Column("info", sa.Text),  # JSON
        sa.UniqueConstraint("collection_id", "name"),
        sqlite_autoincrement=True,
    )
    sa.Table(
        "requant_values",
        metadata,
        sa.Column("field_id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("part", _BIG, primary_key=True, autoincrement=False),  # so many keys in a row
        sa.Column("value", sa.LargeBinary, primary_key=True),  # sorts as filters compare
        sa.Column("keys", sa.LargeBinary, nullable=False),  # which of the part have it
        sqlite_with_rowid=False,
    )


def _ledger(metadata: sa.MetaData) -> None:
    sa.Table(
        "requant_quantizers",
        metadata,
        sa.Column("fingerprint", sa.Text, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    sa.Table(
        "requant_indexes",
        metadata,
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("collection_id", _BIG, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("config", sa.Text, nullable=False),  # JSON: engine, precision, index type...
        sa.Column("generation", _BIG, nullable=False),  # the newest one published
        sa.Column("info", sa.Text),  # JSON; new in schema 3
        sa.UniqueConstraint("collection_id", "name"),
        sqlite_autoincrement=True,
    )
    sa.Table(
        "requant_generations",
        metadata,
        sa.Column("index_id", _BIG, primary_key=True),
        sa.Column("generation", _BIG, primary_key=True, autoincrement=False),
        sa.Column("fingerprint", sa.Text, nullable=False),  # of the quantizer
        sa.Column("fit_rows", _BIG, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),  # JSON: metric on codes, expected items
        sa.Column("applied_key", _BIG, nullable=False),
        sa.Column("applied_seq", _BIG, nullable=False),
        sa.Column("item_count", _BIG, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("bytes", _BIG, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        # Of a live index its serial, of an attached one the stamp of what stood there; schema 3.
        sa.Column("stamp", sa.Text),
        sa.Column("info", sa.Text),  # JSON; new in schema 3
    )
    _live(metadata)


def _live(metadata: sa.MetaData) -> None:
    """What stands in an engine's own folder or server, and what moves; new in schema 2."""
    sa.Table(
        "requant_migrations",
        metadata,
        sa.Column("id", _BIG, primary_key=True),
        sa.Column("collection_id", _BIG, nullable=False),
        sa.Column("index_id", _BIG, nullable=False),  # the new index
        sa.Column("source_id", _BIG),  # the one that was in use, to go back to
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("report", sa.Text, nullable=False),  # JSON: what the verification found
        sa.Column("shadow", sa.Double, nullable=False),  # share of searches answered by both
        sa.Column("wanted", _BIG, nullable=False),
        sa.Column("found", _BIG, nullable=False),
        sa.Column("turn", _BIG),  # which switch of the collection it was, by number; schema 3
        sa.Column("info", sa.Text),  # JSON; new in schema 3
    )
    sa.Table(
        "requant_aliases",
        metadata,
        sa.Column("index_id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("foreign_id", sa.Text, primary_key=True),  # what an attached index calls an item
        sa.Column("key", _BIG, nullable=False),
        sqlite_with_rowid=False,
    )
    sa.Table(
        "requant_locations",
        metadata,
        sa.Column("index_id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("config", sa.Text, nullable=False),  # to remove it when the index is gone
        sa.Column("made", sa.Boolean, nullable=False),  # else the engine may never have been asked
        sa.Column("reaching", _BIG, nullable=False),  # it may know of changes up to this seq
        sa.Column("applied_key", _BIG, nullable=False),
        sa.Column("applied_seq", _BIG, nullable=False),
        sa.Column("item_count", _BIG, nullable=False),
        # What the place itself has to say, in its note: how often it was written to, and a random
        # token of the last time. None where it was made before schema 3.
        sa.Column("serial", _BIG),
        sa.Column("token", sa.Text),
        sa.Column("settled", sa.Boolean),  # whether nothing is under way: the count is true
        sa.Column("info", sa.Text),  # JSON; new in schema 3
    )
