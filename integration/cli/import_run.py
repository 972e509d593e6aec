"""Carrying out `requant import`, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from requant.errors import DimensionError, ExistsError, InputError, RequantError
from requant.integration.cli.group import BAD_ANSWER, STOPPED, report
from requant.integration.cli.import_source import Import, tell_source
from requant.integration.cli.output import print_json, print_lines, warn
from requant.integration.cli.progress import progress

if TYPE_CHECKING:
    from requant.collection import Collection
    from requant.database import Database as OpenDatabase
    from requant.integration.readers import Batch, Tally


@dataclass(frozen=True)
class Job:
    """What is imported, and where to."""

    source: Import
    target: str
    name: str
    metric: str | None
    add: bool


def run(job: Job, batch: int, folder: str | None, as_json: bool) -> int:
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
        origin = job.source.foreign
        if origin is not None and tally.rows:
            target.note_origin(origin.name, origin.kind, origin.fidelity)
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


def _opened(job: Job, first: Batch, folder: str | None) -> AbstractContextManager[OpenDatabase]:
    """Open the database, and make it if it can be said how wide its vectors are."""
    import requant
    from requant.integration.cli.databases import existing

    if job.source.dim or first.vectors.shape[1]:
        return requant.open(job.target, folder=folder)
    return existing(job.target, folder)


def _collection(database: OpenDatabase, job: Job, first: Batch) -> Collection:
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
    if job.source.metric not in (None, found.metric):
        warn(
            f"the source compares by {job.source.metric}, collection {job.name!r} by {found.metric}"
        )
    return found


def _store(job: Job, target: Collection, batches: Iterator[Batch], tally: Tally) -> None:
    from requant.integration.readers import store

    with progress(f"importing {job.source.short}") as advance:
        store(
            target,
            batches,
            tally,
            add=job.add,
            progress=lambda rows: advance(rows, job.source.total(rows)),
        )


def _incomplete(job: Job, tally: Tally) -> str:
    again = "the same command without --add" if job.add else "the same command"
    return f"{tally.rows:,} rows are stored, run {again} again to store them all"


def _answer(job: Job, target: Collection, tally: Tally, problem: str | None) -> dict[str, Any]:
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


def _tell(job: Job, answer: dict[str, Any]) -> None:
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
