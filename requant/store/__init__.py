"""Items, vectors and changes in SQLite or PostgreSQL, and what is noted of collections and indexes.

Reads go through a `Reader` of one snapshot, writes through `Store.writing`; the record modules
(`catalog`, `identity`, `ledger`, `locations`, `migrations`) hold the statements of one table or two
each.
"""

from __future__ import annotations

from requant.store.connections import (
    Lent,
    as_connection,
    checked,
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
    keys_among,
    settled,
)
from requant.store.engine import BusyError, Store, open_store
from requant.store.fields import FieldInfo, Matching, check_fields, field_infos
from requant.store.history import (
    Deleting,
    postgresql_clear,
    postgresql_deletes,
    postgresql_variables,
    sqlite_deletes,
)
from requant.store.read_only import open_read_only
from requant.store.reader import Id, Item, RawItem, Reader, id_of, item_of
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
from requant.store.setup import place, upgrade
from requant.store.states import CollectionState, Head, Seen, Watermark
from requant.store.text import (
    TextIndex,
    TextQuery,
    check_tokenizer,
    is_of_text,
    make_text_again,
    matching_text,
    read_query,
    remove_all_text,
    text_differs,
    text_index,
    text_out_of_step,
)

__all__ = [
    "PREFIX",
    "SCHEMA_VERSION",
    "BusyError",
    "CollectionRow",
    "CollectionState",
    "Contents",
    "ContentsWriter",
    "Deleting",
    "Extent",
    "FieldInfo",
    "Generation",
    "Head",
    "Id",
    "Identity",
    "IndexConfig",
    "IndexRow",
    "Item",
    "Lent",
    "Matching",
    "MigrationRow",
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
    "TextIndex",
    "TextQuery",
    "ValueCount",
    "Watermark",
    "as_connection",
    "build_tables",
    "catalog",
    "check_fields",
    "check_tokenizer",
    "checked",
    "engine_of",
    "field_infos",
    "folder_beside",
    "id_of",
    "identity",
    "is_of_text",
    "item_of",
    "key_range",
    "keys_among",
    "ledger",
    "locations",
    "make_text_again",
    "matching_text",
    "migrations",
    "open_read_only",
    "open_store",
    "place",
    "postgresql_clear",
    "postgresql_deletes",
    "postgresql_variables",
    "read_query",
    "refuse_absent",
    "refuse_own_file",
    "remove_all_text",
    "savepoint",
    "settled",
    "sqlite_deletes",
    "text_differs",
    "text_index",
    "text_out_of_step",
    "upgrade",
    "working_for",
]
