"""`export`: a collection out of the database, into files and stores that others can read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from os import PathLike, fspath
from typing import Any

from requant.collection import Collection
from requant.errors import InputError
from requant.exchange import ExportReport
from requant.integration.export.errors import ExportError
from requant.integration.export.job import (
    FORMATS,
    Format,
    Job,
    Progress,
    Written,
)
from requant.store import refuse_own_file

# Imported when asked for: pyarrow and engines are optional.
_WRITERS: dict[str, str] = {
    "parquet": "requant.integration.export.parquet",
    "faiss": "requant.integration.export.faiss_file",
    "usearch": "requant.integration.export.usearch_file",
    "qdrant": "requant.integration.export.qdrant",
    "lancedb": "requant.integration.export.lancedb_table",
}


def export(
    collection: Collection,
    target: str | PathLike[str],
    *,
    format: Format,
    where: Mapping[str, Any] | None = None,
    index_type: str = "flat",
    overwrite: bool = False,
    batch: int = 1024,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the items of a collection, as they are in one snapshot, to a file, folder or store.

    Args:
        collection: what to export.
        target: parquet: a folder. faiss, usearch: a file. qdrant: `http://host:6333/NAME`, or a
            folder of qdrant-edge. lancedb: a database, a folder or `s3://...`, whose table gets
            the collection's name.
        format: parquet keeps everything and can be imported again; the others are what the plain
            libraries open, and the report notes what they cannot keep.
        where: a filter on the metadata; default: all items.
        index_type: faiss only: flat or hnsw.
        overwrite: replace an export that stands there, an index file of the same engine, or a
            collection on a Qdrant server, whoever made these two; nothing else is ever replaced.
        batch: items in memory at a time.
        progress: called with (done, total) items.

    Raises:
        ExistsError: something stands at the target.
        ExportError: the target cannot be written; what stood there is still there.
        PackageMissingError: the format needs a package that is not installed.
        FilterError, InputError, UnknownCollectionError, CorruptDataError, StoreError.
    """
    check(format, index_type, batch)
    name = fspath(target)
    refuse_own_file(name)
    job = Job(collection, name, where, index_type, overwrite, batch, progress or _silent)
    start = time.monotonic()
    write: Callable[[Job], Written] = import_module(_WRITERS[format]).write
    try:
        done = write(job)
    except OSError as error:
        raise ExportError(f"cannot write {name}: {error}; nothing of it is left") from error
    seconds = time.monotonic() - start
    return ExportReport(
        done.target, format, done.rows, done.without_vector, done.left_out, done.bytes,
        seconds, job.notes,
    )  # fmt: skip


def check(format: str, index_type: str, batch: int) -> None:
    """Raise InputError unless there is such an export."""
    if format not in FORMATS:
        raise InputError(f"there is no format {format!r}: choose one of {', '.join(FORMATS)}")
    if index_type != "flat" and (format, index_type) != ("faiss", "hnsw"):
        raise InputError(f"type {index_type!r}: only faiss has a choice, of flat and hnsw")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError(f"batch must be a whole number from 1, not {batch!r}")


def _silent(_done: int, _total: int) -> None:
    pass
