"""Indexed fields: which items have which value, kept in the same transaction as the items.

A field's values are bytes that sort as filters compare (`values`); for each of them, and for each
`key_lists.PART` keys in a row, one row of `requant_values` lists the keys that have it. So a filter
is answered by a few rows, and a batch of new items changes the rows of the last part alone.
"""

from __future__ import annotations

from requant.store.fields.building import (
    Progress,
    check_field,
    check_fields,
    drop_fields,
    index_field,
    note_fields,
    unindex_field,
)
from requant.store.fields.counting import Counting
from requant.store.fields.definitions import (
    Field,
    FieldInfo,
    Finder,
    field_infos,
    load,
    parse_metadata,
)
from requant.store.fields.key_lists import BITS, PART, packed, unpacked
from requant.store.fields.matching import Matching
from requant.store.fields.source import Memory, Source, one_of
from requant.store.fields.upkeep import Upkeep

__all__ = [
    "BITS",
    "PART",
    "Counting",
    "Field",
    "FieldInfo",
    "Finder",
    "Matching",
    "Memory",
    "Progress",
    "Source",
    "Upkeep",
    "check_field",
    "check_fields",
    "drop_fields",
    "field_infos",
    "index_field",
    "load",
    "note_fields",
    "one_of",
    "packed",
    "parse_metadata",
    "unindex_field",
    "unpacked",
]
