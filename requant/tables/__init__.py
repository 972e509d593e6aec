"""Tables of pandas, Polars and Arrow, written to a collection a batch at a time.

`upsert_table` is what `Collection.upsert_table` calls. Readers of files share `SeenIds`, which
finds an id that occurred before, `list_vectors` and `json_values`, which read Arrow's columns, and
`RowError`, which names a row. pyarrow is imported when the first table is read.
"""

from requant.tables.seen import SeenIds
from requant.tables.values import json_values
from requant.tables.vectors import RowError, holds_numbers, list_vectors
from requant.tables.writing import TableOptions, upsert_table

__all__ = [
    "RowError",
    "SeenIds",
    "TableOptions",
    "holds_numbers",
    "json_values",
    "list_vectors",
    "upsert_table",
]
