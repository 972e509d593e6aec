"""Carrying out an import, and the report of what came of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import requant
from requant.collection import Collection
from requant.database import Database
from requant.errors import DimensionError, ExistsError, InputError, RequantError
from requant.exchange import ImportReport
from requant.inputs import OnConflict, check_choice, check_name
from requant.integration.databases import existing, shown
from requant.integration.errors import ImportIncompleteError, SourceError
from requant.integration.importing.source import Import, open_import
from requant.integration.readers import Batch, Tally, Wanted, store
from requant.integration.readers.load import check
from requant.store import Tables, refuse_own_file

Progress = Callable[[int, int | None], None]


@dataclass
class Job:
    """An import: what is stored where, and how far it has come; `report` may be asked any time."""

    source: Import
    target: str | Database
    name: str
    metric: str | None = None
    on_conflict: OnConflict = "replace"
    warn: Callable[[str], None] | None = None
    tally: Tally = field(default_factory=Tally)
    collection: Collection | None = None
    _told: dict[str, Any] = field(default_factory=dict)

    def run(
        self,
        batch: int,
        folder: str | None,
        progress: Progress | None = None,
        trust: Sequence[str] | None = None,
        tables: Tables | None = None,
    ) -> None:
        """Store everything, a transaction a batch; after an error `report` tells what was stored.

        Raises:
            SourceError: a row cannot be stored; the text names file, row and reason.
        """
        with (
            _peeked(self.source, batch) as (first, batches),
            self._opened(first, folder, trust, tables) as database,
        ):
            self.collection = target = self._collection(database, first)
            self._told.update(dim=target.dim, metric=target.metric, indexes=0)
            try:
                store(
                    target, batches, self.tally, on_conflict=self.on_conflict,
                    progress=self._advance(progress),
                )  # fmt: skip
            finally:
                self._told["indexes"] = len(target.indexes)
                origin = self.source.foreign
                if origin is not None and self.tally.rows:
                    target.note_origin(origin.name, origin.kind, self.source.fidelity)

    def report(self, problem: str | None = None) -> ImportReport:
        """Return what was stored, and what the source was."""
        tally = self.tally
        target = self.target
        return ImportReport(
            database=shown(target) if isinstance(target, str) else None,
            collection=self.name,
            source=self.source.name,
            rows=tally.rows,
            new=tally.new,
            replaced=tally.rows - tally.new,
            skipped=tally.skipped,
            without_vector=tally.without_vector,
            **self._told,
            **self.source.described(),
            complete=problem is None,
            error=problem,
        )

    def incomplete(
        self, again: str = "the same import", other: str = 'on_conflict="replace"'
    ) -> str:
        """Return what is stored after an error, and what completes it."""
        again = f"{again} with {other}" if self.on_conflict == "error" else again
        return f"{self.tally.rows:,} rows are stored, run {again} again to store them all"

    def _advance(self, progress: Progress | None) -> Callable[[int], None] | None:
        if progress is None:
            return None
        return lambda rows: progress(rows, self.source.total(rows))

    def _opened(
        self,
        first: Batch,
        folder: str | None,
        trust: Sequence[str] | None,
        tables: Tables | None,
    ) -> AbstractContextManager[Database]:
        """Open the database, and make it if it can be said how wide its vectors are."""
        if isinstance(self.target, Database):
            return nullcontext(self.target)
        if self.source.dim or first.vectors.shape[1]:
            hosts = tuple(trust or ())
            return requant.open(self.target, folder=folder, trust=hosts, tables=tables)
        return existing(self.target, folder, trust=trust, tables=tables)

    def _collection(self, database: Database, first: Batch) -> Collection:
        """Return the collection, made if need be; raises InputError where it does not fit."""
        source = self.source
        dim = source.dim or first.vectors.shape[1]
        if self.name not in database.collections():
            if not dim:
                raise InputError(
                    f"{source.name}: the first {len(first)} rows have no vector, so nothing tells "
                    f"the dimensions of the new collection {self.name!r}: put a row with a vector "
                    "first"
                )
            metric: Any = self.metric or source.metric or "cosine"
            return database.create_collection(self.name, dim, metric, model=source.model)
        found = database.collection(self.name)
        if self.metric not in (None, found.metric):
            raise ExistsError(
                f"collection {self.name!r} is there already and compares by {found.metric}, not "
                f"{self.metric}: leave out the metric, or choose another name"
            )
        if dim not in (0, found.dim):
            raise DimensionError(
                f"{source.name} holds vectors of {dim} dimensions, collection {self.name!r} has "
                f"{found.dim}"
            )
        if source.model is not None and (found.model is not None or not len(found)):
            # Refused where the texts were embedded by another one.
            database.create_collection(
                self.name, found.dim, found.metric, exist_ok=True, model=source.model
            )
        if self.warn and source.metric not in (None, found.metric):
            self.warn(
                f"the source compares by {source.metric}, collection {self.name!r} by "
                f"{found.metric}"
            )
        return found


def import_items(
    source: str | PathLike[str],
    database: str | Path | Database,
    collection: str,
    *,
    items: str | PathLike[str] | None,
    items_by: Any,
    unmatched: Any,
    metric: str | None,
    ids: str | None,
    vector: str | None,
    documents: str | None,
    metadata: Any,
    on_conflict: OnConflict,
    batch: int,
    folder: str | Path | None,
    trust: Sequence[str],
    progress: Progress | None,
) -> ImportReport:
    """Import as `requant.import_items` says, which has the defaults."""
    check_name(collection, "collection")
    check_choice("on_conflict", on_conflict, OnConflict)
    if isinstance(trust, str):
        raise InputError("trust must be a list of hosts: wrap one in a list")
    if isinstance(database, Database) and (folder is not None or trust):
        raise InputError("folder and trust say how a database is opened: this one is open already")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise InputError(f"batch must be a whole number from 1, not {batch!r}")
    if not isinstance(database, Database):
        check_target(fspath(source), fspath(database))
    names = (metadata,) if isinstance(metadata, str) else tuple(metadata)
    wanted = Wanted(ids, vector, documents, names)
    opened = open_import(source, wanted, items, items_by, unmatched)
    try:
        target = database if isinstance(database, Database) else fspath(database)
        job = Job(opened, target, collection, metric, on_conflict)
        try:
            job.run(batch, None if folder is None else fspath(folder), progress, trust)
        except (RequantError, OSError) as error:
            if not job.tally.rows:
                raise
            report = job.report(str(error))
            raise ImportIncompleteError(f"{error}; {job.incomplete()}", report) from error
        return job.report()
    finally:
        opened.close()


def check_target(source: str, database: str) -> None:
    """Raise InputError unless an import may go from one to the other."""
    if database == ":memory:":
        raise InputError("a database in memory is gone when the import ends: name a file")
    refuse_own_file(source, database)


@contextmanager
def _peeked(source: Import, size: int) -> Iterator[tuple[Batch, Iterator[Batch]]]:
    """Yield the first batch, checked, and all of them; raises SourceError.

    The file is closed in the end, whoever keeps the error, and with it what was being read.
    """
    batches = source.batches(size)
    try:
        first = next(batches, None)
        if first is None:
            raise SourceError(f"{source.name} holds no rows")
        if dim := source.dim or first.vectors.shape[1]:
            check(first, dim)
        yield first, chain([first], batches)
    finally:
        if isinstance(batches, Generator):
            batches.close()
