"""Items, vectors and changes in SQLite or PostgreSQL, and what is noted of collections and indexes.

Reads go through a `Reader` of one snapshot, writes through `Store.writing`; the record modules
(`catalog`, `identity`, `ledger`, `locations`, `migrations`) hold the statements of one table or two
each.
"""

from __future__ import annotations

from requant.store.connections import (
    BUSY,
    Lent,
    as_connection,
    checked,
    end_readings,
    engine_of,
    refuse_absent,
    refuse_own_file,
    savepoint,
    working_for,
)
from requant.store.contents import (
    Contents,
    ContentsWriter,
    Extent,
    Page,
    Part,
    Selection,
    ValueCount,
    items_among,
    settled,
)
from requant.store.decoding import Id, Item, RawItem, content_of, id_of
from requant.store.engine import BusyError, Store, open_store
from requant.store.fields import (
    PART,
    Field,
    FieldInfo,
    Finder,
    Matching,
    Memory,
    check_fields,
    field_infos,
    packed,
    parse_metadata,
    unpacked,
)
from requant.store.history import (
    POSTGRESQL_VARIABLES,
    Deleting,
    Numbering,
    postgresql_clear,
    postgresql_deletes,
    postgresql_renames,
    sqlite_deletes,
)
from requant.store.history import make_missing_keys as draw_keys
from requant.store.read_only import open_read_only
from requant.store.reader import Reader
from requant.store.records import (
    Generation,
    Identity,
    IndexConfig,
    IndexRow,
    MigrationRow,
    Origin,
    State,
    catalog,
    identity,
    ledger,
    locations,
    migrations,
)
from requant.store.schema import (
    PREFIX,
    SCHEMA_VERSION,
    CollectionRow,
    Tables,
    build_tables,
    folder_beside,
    key_range,
)
from requant.store.setup import hint_of_others, place, upgrade
from requant.store.statements import hot_sql
from requant.store.states import CollectionState, Head, Seen, Watermark

__all__ = [
    "BUSY",
    "PART",
    "POSTGRESQL_VARIABLES",
    "PREFIX",
    "SCHEMA_VERSION",
    "BusyError",
    "CollectionRow",
    "CollectionState",
    "Contents",
    "ContentsWriter",
    "Deleting",
    "Extent",
    "Field",
    "FieldInfo",
    "Finder",
    "Generation",
    "Head",
    "Id",
    "Identity",
    "IndexConfig",
    "IndexRow",
    "Item",
    "Lent",
    "Matching",
    "Memory",
    "MigrationRow",
    "Numbering",
    "Origin",
    "Page",
    "Part",
    "RawItem",
    "Reader",
    "Seen",
    "Selection",
    "State",
    "Store",
    "Tables",
    "ValueCount",
    "Watermark",
    "as_connection",
    "build_tables",
    "catalog",
    "check_fields",
    "checked",
    "content_of",
    "draw_keys",
    "end_readings",
    "engine_of",
    "field_infos",
    "folder_beside",
    "hint_of_others",
    "hot_sql",
    "id_of",
    "identity",
    "items_among",
    "key_range",
    "ledger",
    "locations",
    "migrations",
    "open_read_only",
    "open_store",
    "packed",
    "parse_metadata",
    "place",
    "postgresql_clear",
    "postgresql_deletes",
    "postgresql_renames",
    "refuse_absent",
    "refuse_own_file",
    "savepoint",
    "settled",
    "sqlite_deletes",
    "unpacked",
    "upgrade",
    "working_for",
]
