"""Import and export as the core knows them: what is asked, what is told, and whom to ask.

Readers and writers know other software, so they stand above the core, which names them here and
nowhere else: nothing of theirs is imported before somebody imports or exports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from requant.inputs import OnConflict

if TYPE_CHECKING:
    # It stands above; what is handed in is only handed on.
    Database = Any

_IMPORTING = "requant.integration.importing"
_EXPORTING = "requant.integration.export"


@dataclass(frozen=True)
class ImportReport:
    """What an import stored.

    Args:
        database: where to, without its password; None for a database that was handed in open.
        collection: its name.
        source: the path or URL, without secrets.
        rows: how many items were stored.
        new: how many of them were not there before.
        replaced: how many were.
        skipped: how many rows were left out, since their ids were there before.
        without_vector: how many have no vector.
        dim: dimensions of the collection.
        metric: how it compares vectors.
        kind: what the source is, in a few words.
        fidelity: how true its vectors are ("exact", "normalised", "lossy", "codes-only"), None for
            a file of columns.
        notes: what is lost, assumed or changed, a sentence each.
        columns: which column was what: ids (None: row numbers), vector, documents, metadata; None
            for an index or store.
        items: how `items` was joined: file, by ("id" or "row"), rows, matched,
            vectors_without_row, rows_without_vector, unmatched; None without it.
        not_taken: columns of the files that nothing was made of.
        indexes: how many indexes the collection has.
        complete: whether the whole source was stored.
        error: why not, None if it was.
    """

    database: str | None
    collection: str
    source: str
    rows: int
    new: int
    replaced: int
    skipped: int
    without_vector: int
    dim: int
    metric: str
    kind: str
    fidelity: str | None
    notes: list[str]
    columns: dict[str, Any] | None
    items: dict[str, Any] | None
    not_taken: list[str]
    indexes: int
    complete: bool
    error: str | None


@dataclass(frozen=True)
class ExportReport:
    """What an export made.

    Args:
        target: the place, as a reader of the format is told of it.
        format: what was written.
        rows: items in the target.
        without_vector: how many of them have no vector.
        left_out: items that the format cannot hold; the notes say why.
        bytes: the size of the target, None where only a server knows.
        seconds: how long it took.
        notes: what could not be carried as it was, and how to read the target, a sentence each.
    """

    target: str
    format: str
    rows: int
    without_vector: int
    left_out: int
    bytes: int | None
    seconds: float
    notes: list[str]


def import_items(
    source: str | PathLike[str],
    database: str | Path | Database,
    collection: str,
    *,
    items: str | PathLike[str] | None = None,
    items_by: Literal["id", "row"] | None = None,
    unmatched: Literal["refuse", "skip", "keep"] = "refuse",
    metric: Literal["cosine", "ip", "l2"] | None = None,
    ids: str | None = None,
    vector: str | None = None,
    documents: str | None = None,
    metadata: str | Sequence[str] = (),
    on_conflict: OnConflict = "replace",
    batch: int = 4096,
    folder: str | Path | None = None,
    trust: Sequence[str] = (),
    progress: Callable[[int, int | None], None] | None = None,
) -> ImportReport:
    """Store a file of vectors, or an index or store of other software, as `requant import` does.

    Nothing is embedded again. The source is read in batches, so it may be larger than memory; each
    batch is stored whole or not at all.

    Args:
        source: a file (.npy .npz .parquet .arrow .feather .csv .tsv .jsonl), or what other
            software keeps; see `requant import --help`.
        database: a path or URL, made if need be, or an open database.
        collection: its name; it is made if need be.
        items: a file of ids, documents and metadata that belong to the vectors of the source
            (.parquet .arrow .feather .csv .tsv .jsonl). Its rows wait in a temporary SQLite file
            of about their size.
        items_by: "id": a vector's id is looked up among the ids of `items`; "row": the n-th row
            belongs to the n-th vector, or to the vector that an index calls n. Default: by id where
            both have ids, else by row.
        unmatched: joined by id, what has no counterpart: "refuse" before anything is stored,
            "skip" it on both sides, or "keep" it as it is. By row, both are of one length.
        metric: of a new collection; default: as the source compares, or cosine.
        ids: the column of ids; default: `id` or `ids`. A file without any has row numbers, from 0.
        vector: the column of vectors; default: `vector`, `embedding`, or the only one that can be.
        documents: the column of texts; default: `document`, `text` or `page_content`.
        metadata: columns to keep as metadata, or "all" of the others; default: the objects of a
            column `metadata`; of an index or store, everything.
        on_conflict: what becomes of an id that is stored already: "replace" its columns, "skip"
            its row, or refuse the batch as an "error".
        batch: rows a transaction.
        folder: where index files are kept, as for `requant.open`; not of an open database.
        trust: hosts that get keys where the database names them, as for `requant.open`; not of an
            open database.
        progress: called with (rows stored, total or None), after each batch.

    Raises:
        requant.integration.errors.SourceError: the source cannot be read, or a row cannot be
            stored; the text names file, row and reason, and nothing was stored.
        requant.integration.errors.ImportIncompleteError: that came after some batches had been
            stored; its `report` says how many. The same call on the corrected source completes it.
        PackageMissingError: reading it needs a package that is not installed.
        InputError, ExistsError, DimensionError, StoreError.

    >>> import numpy as np, requant, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.save(f"{folder.name}/v.npy", np.eye(3, dtype=np.float32))
    >>> with open(f"{folder.name}/texts.csv", "w") as file:
    ...     _ = file.write("id,text\\na,one\\nb,two\\nc,three\\n")
    >>> with requant.open(":memory:") as db:
    ...     report = requant.import_items(
    ...         f"{folder.name}/v.npy", db, "notes", items=f"{folder.name}/texts.csv"
    ...     )
    ...     report.rows, db.collection("notes").get(["b"])[0].document
    (3, 'two')
    >>> folder.cleanup()
    """
    run: Callable[..., ImportReport] = import_module(_IMPORTING).import_items
    return run(
        source, database, collection, items=items, items_by=items_by, unmatched=unmatched,
        metric=metric, ids=ids, vector=vector, documents=documents, metadata=metadata,
        on_conflict=on_conflict, batch=batch, folder=folder, trust=trust, progress=progress,
    )  # fmt: skip


def export_items(
    collection: Any,
    target: str | PathLike[str],
    format: str,
    where: Mapping[str, Any] | None,
    **options: Any,
) -> ExportReport:
    """Write a collection as `Collection.export` says."""
    run: Callable[..., ExportReport] = import_module(_EXPORTING).export
    return run(collection, target, format=format, where=where, **options)
