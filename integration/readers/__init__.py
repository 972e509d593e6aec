"""Files of vectors, one reader a format; and indexes of other software, see `foreign`.

A reader is a `Table` (see `table.py`): columns by name, read a chunk of rows at a time, so that a
file may be larger than memory. `open_source` chooses the reader by the file's extension and the
columns by what the caller wants; `open_foreign` opens what requant did not make. `store` writes
either into a collection.
"""

from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.opening import open_foreign
from requant.integration.readers.foreign.protocol import Fidelity, ForeignSource
from requant.integration.readers.load import Tally, store
from requant.integration.readers.source import (
    EXTENSIONS,
    Batch,
    Source,
    ids_by_row,
    open_source,
    open_table,
)

__all__ = [
    "EXTENSIONS",
    "Batch",
    "Fidelity",
    "ForeignSource",
    "Source",
    "Tally",
    "Wanted",
    "ids_by_row",
    "open_foreign",
    "open_source",
    "open_table",
    "store",
]
