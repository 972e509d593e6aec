"""`requant import`: a file of vectors, or an index of other software, into a collection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.errors import DimensionError, ExistsError, InputError, RequantError
from requant.integration.cli.group import BAD_ANSWER, STOPPED, report
from requant.integration.cli.import_source import Import, open_import, tell_source
from requant.integration.cli.options import AsJson, CollectionName, Database, Folder
from requant.integration.cli.output import print_json, print_lines, warn
from requant.integration.cli.progress import progress

if TYPE_CHECKING:
    from requant.collection import Collection
    from requant.database import Database as OpenDatabase
    from requant.integration.readers import Batch, Tally

_BATCH = 4096


class MetricName(str, Enum):
    """How vectors are compared."""

    cosine = "cosine"
    ip = "ip"
    l2 = "l2"


@dataclass(frozen=True)
class _Job:
    """What is imported, and where to."""

    source: Import
    target: str
    name: str
    metric: str | None
    add: bool


def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A file: .npy .npz .parquet .arrow .feather .jsonl .ndjson .jsonl.gz .ndjson.gz; "
            "or what other software keeps, see above.",
        ),
    ],
    database: Database,
    collection: CollectionName,
    metric: Annotated[
        MetricName | None,
        typer.Option(
            "--metric",
            metavar="cosine|ip|l2",
            help="How a new collection compares vectors; by default as the source does, "
            "or cosine if it does not tell.",
        ),
    ] = None,
    ids: Annotated[
        str | None,
        typer.Option(
            "--ids",
            metavar="COLUMN",
            help="The column or payload key of ids, each once; by default `id` or `ids`, "
            "or the ids of the index. A file without any gets the row numbers, from 0, as ids.",
        ),
    ] = None,
    vector: Annotated[
        str | None,
        typer.Option(
            "--vector",
            "--vectors-key",
            metavar="COLUMN",
            help="The column of vectors (.npz: the name of the array; Qdrant: of the vector); "
            "by default `vector` or `embedding`, or the only one that can be.",
        ),
    ] = None,
    documents: Annotated[
        str | None,
        typer.Option(
            "--documents",
            metavar="COLUMN",
            help="The column or payload key of texts; by default `document`, "
            "of an index or store also `text` or `page_content`.",
        ),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            "--metadata",
            metavar="COLUMN",
            help="A column to keep as metadata under its name; repeat it for more. "
            "`all` keeps every remaining column. "
            "By default the objects of a column `metadata`, if there is one; "
            "of an index or store, everything.",
        ),
    ] = None,
    items: Annotated[
        str | None,
        typer.Option(
            "--items",
            metavar="FILE",
            help="JSON lines (.jsonl, .jsonl.gz) with the ids, documents and metadata "
            "that belong to the rows of a .npy or .npz file.",
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            "--batch", metavar="ROWS", min=1, help="Rows a transaction: stored together or not."
        ),
    ] = _BATCH,
    add: Annotated[
        bool, typer.Option("--add", help="Refuse ids that are stored already; else replace them.")
    ] = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Store a file of vectors in a collection, and make database and collection if need be.

    The source may also be an index or a store of other software, which is
    recognised by what is in it: a FAISS file, a usearch file, a LanceDB table
    (folder TABLE.lance, lancedb:///folder/TABLE, s3://bucket/folder/TABLE), a
    Qdrant collection (http(s)://host:6333/collections/NAME, a folder of
    qdrant-client or of Qdrant edge). Nothing is embedded again, and what the
    source does not hold is said: vectors may be exact, normalised (without
    their lengths), lossy (from compressed codes) or codes-only (bits).

    The source is read in batches, so it may be larger than memory. A row that
    cannot be stored stops the import with its number and the reason; what was
    stored before stays, and the same command, run again on the corrected source,
    completes it.

    Next: `requant index add`, then `requant search`.

    --json answers: database, collection, source, rows, new, replaced,
    without_vector, dim, metric, kind, fidelity (null for a file of columns),
    notes, columns (ids, vector, documents, metadata; ids null: row numbers;
    null for an index or store), indexes (how many), complete, error.
    """
    from requant.integration.readers import Wanted
    from requant.validate import check_name

    check_name(collection, "collection")
    if database == ":memory:":
        raise InputError("a database in memory is gone when the import ends: name a file")
    wanted = Wanted(ids, vector, documents, tuple(metadata or ()))
    opened = open_import(source, wanted, items)
    job = _Job(opened, database, collection, metric.value if metric else None, add)
    try:
        code = _run(job, batch, folder, as_json)
    finally:
        opened.close()
    if code:
        raise typer.Exit(code)


def _run(job: _Job, batch: int, folder: str | None, as_json: bool) -> int:
    """Import, tell what came of it, and return the exit code."""
    from requant.integration.readers import Tally

    first, batches = _peeked(job.source, batch)
    tally = Tally()
    problem: str | None = None
    code = 0
    with _opened(job, first, folder) as database:
        target = _collection(database, job, first)
        job.source.warn_of_loss()
        try:
            _store(job, target, batches, tally)
        except KeyboardInterrupt:
            problem, code = "stopped by Ctrl-C", STOPPED
            warn(f"{problem}: at least {_incomplete(job, tally)}")
        except (RequantError, OSError) as error:
            if not tally.rows:
                raise
            problem, code = str(error), BAD_ANSWER
            report(error, f"; {_incomplete(job, tally)}")
        answer = _answer(job, target, tally, problem)
    if as_json:
        print_json(answer)
    elif problem is None:
        _tell(job, answer)
    return code


def _peeked(source: Import, size: int) -> tuple[Batch, Iterator[Batch]]:
    """Return the first batch, checked, and all of them; raises SourceError."""
    from requant.integration.errors import SourceError
    from requant.integration.readers.load import check

    batches = source.batches(size)
    first = next(batches, None)
    if first is None:
        raise SourceError(f"{source.name} holds no rows")
    if dim := source.dim or first.vectors.shape[1]:
        check(first, dim)
    return first, chain([first], batches)


def _opened(job: _Job, first: Batch, folder: str | None) -> AbstractContextManager[OpenDatabase]:
    """Open the database, and make it if it can be said how wide its vectors are."""
    import requant
    from requant.integration.cli.databases import existing

    if job.source.dim or first.vectors.shape[1]:
        return requant.open(job.target, folder=folder)
    return existing(job.target, folder)


def _collection(database: OpenDatabase, job: _Job, first: Batch) -> Collection:
    """Return the collection, made if need be; raises InputError where the file does not fit it."""
    dim = job.source.dim or first.vectors.shape[1]
    if job.name not in database.collections():
        if not dim:
            raise InputError(
                f"{job.source.name}: the first {len(first)} rows have no vector, so nothing tells "
                f"the dimensions of the new collection {job.name!r}: put a row with a vector first"
            )
        metric: Any = job.metric or job.source.metric or "cosine"
        return database.create_collection(job.name, dim, metric)
    found = database.collection(job.name)
    if job.metric not in (None, found.metric):
        raise ExistsError(
            f"collection {job.name!r} is there already and compares by {found.metric}, not "
            f"{job.metric}: leave out --metric, or choose another name"
        )
    if dim not in (0, found.dim):
        raise DimensionError(
            f"{job.source.name} holds vectors of {dim} dimensions, collection {job.name!r} has "
            f"{found.dim}"
        )
    return found


def _store(job: _Job, target: Collection, batches: Iterator[Batch], tally: Tally) -> None:
    from requant.integration.readers import store

    with progress(f"importing {job.source.short}") as advance:
        store(
            target,
            batches,
            tally,
            add=job.add,
            progress=lambda rows: advance(rows, job.source.total(rows)),
        )


def _incomplete(job: _Job, tally: Tally) -> str:
    again = "the same command without --add" if job.add else "the same command"
    return f"{tally.rows:,} rows are stored, run {again} again to store them all"


def _answer(job: _Job, target: Collection, tally: Tally, problem: str | None) -> dict[str, Any]:
    from requant.integration.cli.databases import shown

    return {
        "database": shown(job.target),
        "collection": job.name,
        "source": job.source.name,
        "rows": tally.rows,
        "new": tally.new,
        "replaced": tally.rows - tally.new,
        "without_vector": tally.without_vector,
        "dim": target.dim,
        "metric": target.metric,
        **job.source.described(),
        "indexes": len(target.indexes),
        "complete": problem is None,
        "error": problem,
    }


def _tell(job: _Job, answer: dict[str, Any]) -> None:
    print_lines(
        f"Stored {answer['rows']:,} rows in collection {job.name!r} of {answer['database']}: "
        f"{answer['new']:,} new, {answer['replaced']:,} replaced; "
        f"{answer['dim']} dimensions, {answer['metric']}.",
    )
    tell_source(answer)
    if answer["without_vector"]:
        print_lines(
            f"{answer['without_vector']:,} of them have no vector: no search will find them."
        )
    if not answer["indexes"]:
        print_lines(f"Next: requant index add {answer['database']} {job.name} main")
