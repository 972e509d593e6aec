"""The tables: one schema for SQLite and PostgreSQL, also inside an application's MetaData."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.schema import conv

from requant.errors import InputError
from requant.scores import Metric

SCHEMA_VERSION = 6

# A collection owns the keys [id << KEY_BITS, (id + 1) << KEY_BITS): one contiguous range.
KEY_BITS = 40
MAX_COLLECTIONS = 1 << 22  # engines take keys below 2**62

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


PREFIX = "requant_"  # what our statements call the tables by, whatever their names are
_LONGEST = 30  # the names of constraints stay below PostgreSQL's 63 bytes
_A_PREFIX = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{,{_LONGEST - 1}}}")
_NO_SCHEMA = re.compile(r"[%.:{}\0]")


@dataclass(frozen=True)
class Tables:
    """The tables of one store: `<schema>.<prefix>items` and so on, all in one MetaData."""

    metadata: sa.MetaData = field(repr=False)
    meta: sa.Table
    collections: sa.Table
    items: sa.Table
    vectors: sa.Table
    changes: sa.Table
    writes: sa.Table
    runs: sa.Table
    quantizers: sa.Table
    indexes: sa.Table
    generations: sa.Table
    locations: sa.Table
    migrations: sa.Table
    aliases: sa.Table
    fields: sa.Table
    values: sa.Table
    prefix: str = PREFIX
    schema: str | None = None

    @classmethod
    def kinds(cls) -> list[str]:
        """Return what the tables are called, without their prefix, in the order of this class."""
        return [name for name in cls.__dataclass_fields__ if name not in _NO_TABLES]

    def every(self) -> list[sa.Table]:
        """Return all tables, in the order of `kinds`."""
        return [getattr(self, kind) for kind in self.kinds()]

    def named(self, statement: str) -> str:
        """Return a statement about these tables, given one that calls them requant_items..."""
        if self.prefix == PREFIX and self.schema is None:
            return statement
        return _A_TABLE.sub(lambda found: self.quoted(found[1]), statement)

    def quoted(self, kind: str) -> str:
        """Return the whole name of a table, as SQL has it."""
        name = _quote(f"{self.prefix}{kind}")
        return name if self.schema is None else f"{_quote(self.schema)}.{name}"


_NO_TABLES = ("metadata", "prefix", "schema")
_A_TABLE = re.compile(rf"\b{PREFIX}({'|'.join(Tables.kinds())})\b")


@dataclass(frozen=True)
class CollectionRow:
    """What never changes about a collection; who goes by a name given away in a move is refused."""

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


def build_tables(
    metadata: sa.MetaData | None = None, *, prefix: str = PREFIX, schema: str | None = None
) -> Tables:
    """Add requant's tables to `metadata`, once for each prefix and schema.

    Without a `schema` they are in that of the MetaData, if it has one. Raises InputError.
    """
    metadata = metadata if metadata is not None else sa.MetaData()
    schema = schema if schema is not None else metadata.schema
    _check_names(prefix, schema)
    every = {}
    for kind in Tables.kinds():
        name = f"{prefix}{kind}"
        table = metadata.tables.get(name if schema is None else f"{schema}.{name}")
        every[kind] = table if table is not None else _add(metadata, kind, name, schema)
    return Tables(metadata, **every, prefix=prefix, schema=schema)


def folder_beside(path: str | os.PathLike[str], tables: Tables | None) -> Path:
    """Return where index files are kept by default: each set of tables has a folder of its own."""
    own = "" if tables is None or tables.prefix == PREFIX else tables.prefix
    return Path(f"{os.fspath(path)}.{own}indexes").absolute()


def _add(metadata: sa.MetaData, kind: str, name: str, schema: str | None) -> sa.Table:
    original = _template().tables[f"{PREFIX}{kind}"]
    if schema is None:
        table = original.to_metadata(metadata, name=name)
    else:
        table = original.to_metadata(metadata, schema=schema, name=name)
    _name_constraints(table)
    return table


@cache
def _template() -> sa.MetaData:
    metadata = sa.MetaData()
    _catalog(metadata)
    _content(metadata)
    _ledger(metadata)
    _fields(metadata)
    for table in metadata.tables.values():
        for constraint in table.constraints:
            constraint.name = conv("any")  # else a convention gives a copy one, or refuses to
    return metadata


def _name_constraints(table: sa.Table) -> None:
    """Name constraints so that an application's naming convention changes nothing.

    It leaves a `conv` alone. A primary key is called as PostgreSQL calls it by itself; Alembic
    compares constraints without a name by their columns, as those of databases that are there.
    """
    for constraint in table.constraints:
        if isinstance(constraint, sa.PrimaryKeyConstraint):
            constraint.name = conv(f"{table.name}_pkey")
        elif isinstance(constraint, sa.UniqueConstraint):
            constraint.name = None


def _check_names(prefix: object, schema: object) -> None:
    usable = isinstance(prefix, str) and _A_PREFIX.fullmatch(prefix) is not None
    if not usable or str(prefix).lower().startswith(("sqlite_", "pg_")):
        raise InputError(
            f"prefix {prefix!r}: letters, digits and _ only, {_LONGEST} at most, no digit first, "
            "and neither sqlite_ nor pg_"
        )
    usable = isinstance(schema, str) and bool(schema) and not _NO_SCHEMA.search(schema)
    if schema is not None and not usable:
        raise InputError(f"schema {schema!r} must be None, or a name without any of .:%{{}}")


def _columns(table: sa.Table) -> list[str]:
    return [column.name for column in table.columns]


def _quote(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def missing(tables: Tables, connection: sa.Connection) -> list[str]:
    """Return which tables, or columns of them, a database lacks."""
    inspector, absent = sa.inspect(connection), []
    for table in tables.every():
        if not inspector.has_table(table.name, schema=table.schema):
            absent.append(table.name)
            continue
        known = inspector.get_columns(table.name, schema=table.schema)
        there = {column["name"] for column in known}
        absent += [f"{table.name}.{name}" for name in _columns(table) if name not in there]
    return absent


def add_missing(tables: Tables, connection: sa.Connection) -> None:
    """Make what a new database or one of an older schema lacks.

    What is new in a table that is there may be absent in every row.
    """
    tables.metadata.create_all(connection, tables=tables.every())
    for name in missing(tables, connection):
        kind, _, column = name.removeprefix(tables.prefix).partition(".")
        type_ = getattr(tables, kind).columns[column].type.compile(connection.dialect)
        add = f"ALTER TABLE {tables.quoted(kind)} ADD COLUMN {_quote(column)} {type_}"
        connection.exec_driver_sql(add)


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
        sa.Column("name", sa.Text, nullable=False),
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
        sa.Column("fields_at", _BIG),  # fields_seq in schema 5, whose processes are shut out
        # Whether its keys are drawn from a sequence of its own, on PostgreSQL; new in schema 6.
        sa.Column("own_keys", sa.Boolean),
        sa.UniqueConstraint("name"),
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
    sa.Table(  # what PostgreSQL's writers have committed and nobody has numbered; new in schema 6
        "requant_writes",
        metadata,
        sa.Column("collection_id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("id", _BIG, sa.Identity(), primary_key=True),
        sa.Column("token", _BIG, nullable=False),  # random: ids may come again after a restore
        sa.Column("fields", _BIG),  # the number of the indexed fields that it has kept
        sa.Column("added", sa.LargeBinary, nullable=False),  # keys, as (first, end) of runs
        sa.Column("changed", sa.LargeBinary, nullable=False),  # keys
        sa.Column("touched", sa.LargeBinary, nullable=False),  # keys whose vectors are as they were
        sa.Column("lists", sa.LargeBinary),  # what changes in the lists of fields
        sa.Column("gone", sa.Text),  # JSON: (key, metadata) of items to be taken out of the lists
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
