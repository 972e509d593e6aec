"""A LanceDB table of id, text, metadata and vector, as LanceDB's users know it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from requant.adapters.hosts import host_of
from requant.errors import ExistsError
from requant.integration.export import places
from requant.integration.export.errors import ExportError
from requant.integration.export.job import Job, Written, count
from requant.integration.export.lancedb_feed import MARK, Feed
from requant.integration.export.packages import package


def write(job: Job) -> Written:
    """Write the table, named as the collection is; raises ExistsError, ExportError, OSError."""
    package("lancedb", "lancedb")
    local = job.target.removeprefix("file://")
    return _write_remote(job) if "://" in local else _write_local(job, places.path_of(local))


def _write_local(job: Job, database: Path) -> Written:
    if database.exists() and not database.is_dir():
        raise ExistsError(f"{database} is a file: a LanceDB database is a folder")
    name = job.collection.name
    target = database / f"{name}.lance"
    with places.new_folder(target, job.overwrite, _is_ours) as folder:
        # A database is a folder, and a table a folder in it: this one moves up into its place.
        feed = _filled(job, str(folder), name, replace=False)
        table = folder / target.name
        for inner in table.iterdir():
            inner.rename(folder / inner.name)
        table.rmdir()
    return Written(str(target), feed.rows, feed.without_vector, places.size_of(target))


def _write_remote(job: Job) -> Written:
    host_of(job.target)  # which refuses users and keys in it: errors would show them
    uri, name = job.target.rstrip("/"), job.collection.name
    where = f"{uri}/{name}"
    table = _opened(uri, name)
    if table is not None and not job.overwrite:
        raise ExistsError(f"{where} exists: choose another place, or overwrite it")
    if table is not None and MARK not in (table.schema.metadata or {}):
        raise ExistsError(f"{where} is no export of requant, so it is not replaced: see to it")
    try:
        feed = _filled(job, uri, name, replace=table is not None)
    except BaseException:
        if table is None:
            # Nothing was committed, but files may lie about.
            with suppress(Exception):
                _connected(uri).drop_table(name)
        raise
    return Written(where, feed.rows, feed.without_vector, None)


def _filled(job: Job, uri: str, name: str, *, replace: bool) -> Feed:
    """Make a table in one commit, so that it is whole or absent."""
    with job.collection.selected(job.where) as items, Feed(job, items) as feed:
        try:
            table = _connected(uri).create_table(
                name,
                data=feed.reader(),
                mode="overwrite" if replace else "create",
                on_bad_vectors="null",  # LanceDB takes a null for a bad vector
            )
            found = table.count_rows() if "://" in uri else _read(table, job.batch)
        except Exception as error:  # lancedb raises ValueError, RuntimeError, OSError...
            if feed.error is not None:
                raise feed.error from error
            raise ExportError(f"LanceDB cannot write the export: {_first_line(error)}") from error
    if found != items.total or found != feed.rows:
        raise ExportError(f"LanceDB holds {found} of {items.total} rows")
    _tell(job, feed)
    return feed


def _read(table: Any, batch: int) -> int:
    """Read everything once and return how many rows it was.

    On a full disk LanceDB was seen to lose the end of a file without a word.
    """
    return sum(rows.num_rows for rows in table.search().to_batches(batch))


def _connected(uri: str) -> Any:
    return package("lancedb", "lancedb").connect(uri)


def _opened(uri: str, name: str) -> Any:
    """Return the table that stands there, None if there is none; raises ExportError."""
    try:
        return _connected(uri).open_table(name)
    except Exception as error:
        if isinstance(error, FileNotFoundError) or "not found" in str(error):
            return None
        raise ExportError(f"{uri}/{name} cannot be opened: {_first_line(error)}") from error


def _is_ours(path: Path) -> bool:
    try:
        table = _opened(str(path.parent), path.name.removesuffix(".lance"))
    except ExportError:
        return False
    return table is not None and MARK in (table.schema.metadata or {})


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _tell(job: Job, feed: Feed) -> None:
    if job.collection.metric != "l2":
        kind = "cosine" if job.collection.metric == "cosine" else "dot"
        job.notes.append(f"LanceDB compares by l2 unless a search says distance_type({kind!r})")
    if feed.typed:
        job.notes.append("ids are text; what they were is in the column id_type")
    if feed.rows and not feed.struct:
        job.notes.append(
            "metadata is JSON text: the items have not all the same fields of the same types"
        )
    if feed.without_vector:
        job.notes.append(f"{count(feed.without_vector, 'row')} without a vector: null")
