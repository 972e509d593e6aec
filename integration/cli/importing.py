"""`requant import`: a file of vectors into a collection."""

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
from requant.integration.cli.options import AsJson, CollectionName, Database, Folder
from requant.integration.cli.output import print_json, print_lines, warn
from requant.integration.cli.progress import progress

if TYPE_CHECKING:
    from requant.collection import Collection
    from requant.database import Database as OpenDatabase
    from requant.integration.readers import Batch, Source, Tally

_BATCH = 4096


class MetricName(str, Enum):
    """How vectors are compared."""

    cosine = "cosine"
    ip = "ip"
    l2 = "l2"


@dataclass(frozen=True)
class _Job:
    """What is imported, and where to."""

    source: Source
    target: str
    name: str
    metric: str | None
    add: bool


def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="The file: .npy .npz .parquet .arrow .feather .jsonl .ndjson .jsonl.gz .ndjson.gz",
        ),
    ],
    database: Database,
    collection: CollectionName,
    metric: Annotated[
        MetricName | None,
        typer.Option(
            "--metric",
            metavar="cosine|ip|l2",
            help="How a new collection compares vectors; by default cosine.",
        ),
    ] = None,
    ids: Annotated[
        str | None,
        typer.Option(
            "--ids",
            metavar="COLUMN",
            help="The column of ids, each once; by default `id` or `ids`. "
            "A file without one gets the row numbers, from 0, as ids.",
        ),
    ] = None,
    vector: Annotated[
        str | None,
        typer.Option(
            "--vector",
            "--vectors-key",
            metavar="COLUMN",
            help="The column of vectors (.npz: the name of the array); "
            "by default `vector` or `embedding`, or the only one that can be.",
        ),
    ] = None,
    documents: Annotated[
        str | None,
        typer.Option(
            "--documents", metavar="COLUMN", help="The column of texts; by default `document`."
        ),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            "--metadata",
            metavar="COLUMN",
            help="A column to keep as metadata under its name; repeat it for more. "
            "`all` keeps every remaining column. "
            "By default the objects of a column `metadata`, if there is one.",
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

    The file is read in batches, so it may be larger than memory. A row that
    cannot be stored stops the import with its number and the reason; what was
    stored before stays, and the same command, run again on the corrected file,
    completes it.

    Next: `requant index add`, then `requant search`.

    --json answers: database, collection, source, rows, new, replaced,
    without_vector, dim, metric, columns (ids, vector, documents, metadata;
    ids null: row numbers), indexes (how many), complete, error.
    """
    from requant.integration.readers import Wanted, open_source
    from requant.validate import check_name

    check_name(collection, "collection")
    if database == ":memory:":
        raise InputError("a database in memory is gone when the import ends: name a file")
    wanted = Wanted(ids, vector, documents, tuple(metadata or ()))
    opened = open_source(source, wanted, items)
    job = _Job(opened, database, collection, metric.value if metric else None, add)
    code = _run(job, batch, folder, as_json)
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


def _peeked(source: Source, size: int) -> tuple[Batch, Iterator[Batch]]:
    """Return the first batch, checked, and all of them; raises SourceError."""
    from requant.integration.errors import SourceError
    from requant.integration.readers.load import check

    batches = source.batches(size)
    first = next(batches, None)
    if first is None:
        raise SourceError(f"{source.path} holds no rows")
    if first.vectors.shape[1]:
        check(first, first.vectors.shape[1])
    return first, chain([first], batches)


def _opened(job: _Job, first: Batch, folder: str | None) -> AbstractContextManager[OpenDatabase]:
    """Open the database, and make it if it can be said how wide its vectors are."""
    import requant
    from requant.integration.cli.databases import existing

    if first.vectors.shape[1]:
        return requant.open(job.target, folder=folder)
    return existing(job.target, folder)


def _collection(database: OpenDatabase, job: _Job, first: Batch) -> Collection:
    """Return the collection, made if need be; raises InputError where the file does not fit it."""
    dim = first.vectors.shape[1]
    if job.name not in database.collections():
        if not dim:
            raise InputError(
                f"{job.source.path}: the first {len(first)} rows have no vector, so nothing tells "
                f"the dimensions of the new collection {job.name!r}: put a row with a vector first"
            )
        metric: Any = job.metric or "cosine"
        return database.create_collection(job.name, dim, metric)
    found = database.collection(job.name)
    if job.metric not in (None, found.metric):
        raise ExistsError(
            f"collection {job.name!r} is there already and compares by {found.metric}, not "
            f"{job.metric}: leave out --metric, or choose another name"
        )
    if dim not in (0, found.dim):
        raise DimensionError(
            f"{job.source.path} holds vectors of {dim} dimensions, collection {job.name!r} has "
            f"{found.dim}"
        )
    return found


def _store(job: _Job, target: Collection, batches: Iterator[Batch], tally: Tally) -> None:
    from requant.integration.readers import store

    with progress(f"importing {job.source.path.name}") as advance:
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

    chosen = job.source.chosen
    return {
        "database": shown(job.target),
        "collection": job.name,
        "source": str(job.source.path),
        "rows": tally.rows,
        "new": tally.new,
        "replaced": tally.rows - tally.new,
        "without_vector": tally.without_vector,
        "dim": target.dim,
        "metric": target.metric,
        "columns": {
            "ids": chosen.ids,
            "vector": chosen.vector,
            "documents": chosen.documents,
            "metadata": [chosen.whole] if chosen.whole else list(chosen.metadata),
        },
        "indexes": len(target.indexes),
        "complete": problem is None,
        "error": problem,
    }


def _tell(job: _Job, answer: dict[str, Any]) -> None:
    columns = answer["columns"]
    ids = f"column {columns['ids']!r}" if columns["ids"] else "row numbers, from 0"
    print_lines(
        f"Stored {answer['rows']:,} rows in collection {job.name!r} of {answer['database']}: "
        f"{answer['new']:,} new, {answer['replaced']:,} replaced; "
        f"{answer['dim']} dimensions, {answer['metric']}.",
        f"ids: {ids}; documents: {columns['documents'] or 'none'}; "
        f"metadata: {', '.join(columns['metadata']) or 'none'}.",
    )
    if answer["without_vector"]:
        print_lines(
            f"{answer['without_vector']:,} of them have no vector: no search will find them."
        )
    if not answer["indexes"]:
        print_lines(f"Next: requant index add {answer['database']} {job.name} main")
