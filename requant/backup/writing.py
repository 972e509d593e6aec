"""Making a backup: one snapshot of the store, while others read and write."""

from __future__ import annotations

import glob
import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import sqlalchemy as sa

import requant
from requant.adapters.files import Digest, check_digest, publish
from requant.backup import tables as rows
from requant.backup.sealing import Backup, seal
from requant.errors import CorruptIndexError, ExistsError, StoreError
from requant.indexes import ATTACHED, Progress, Workspace
from requant.store import (
    SCHEMA_VERSION,
    Memory,
    Numbering,
    Store,
    Tables,
    build_tables,
    hot_sql,
    page_size,
)

# The backup is as good as the rename that makes it one: before, nothing needs to be safe.
_PRAGMAS = ("journal_mode = OFF", "synchronous = OFF")
_BLOCK = 1 << 20
_LEFT_SECONDS = 3600.0


def write_backup(
    workspace: Workspace, path: Path, *, indexes: bool, progress: Progress | None
) -> Backup:
    """Write a backup to `path`, as `Database.backup` says, whose other half this is."""
    _check_free(path)
    made: list[Backup] = []

    def write(partial: str) -> None:
        made.append(_write(workspace, Path(partial), indexes, progress))
        _check_free(path)

    with problems(f"write {path}"):
        _remove_left(path)
        publish(path, write)
    return made[0]


@contextmanager
def problems(action: str) -> Iterator[None]:
    """Turn what files, SQLite and SQLAlchemy raise into StoreError that names the action."""
    try:
        yield
    except (OSError, sqlite3.Error, sa.exc.SQLAlchemyError) as error:
        raise StoreError(f"cannot {action}: {getattr(error, 'orig', None) or error}") from error


def _check_free(path: Path) -> None:
    if not path.parent.is_dir():
        raise StoreError(f"cannot write {path}: the folder {path.parent} does not exist")
    if os.path.lexists(path):
        raise ExistsError(f"{path} is there already: a backup never replaces a file")


def _remove_left(path: Path) -> None:
    """Remove what backups to `path` that were killed have left."""
    long_ago = time.time() - _LEFT_SECONDS
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with suppress(OSError):
            if left.stat().st_mtime < long_ago:
                left.unlink()


def _write(workspace: Workspace, partial: Path, indexes: bool, progress: Progress | None) -> Backup:
    store = workspace.store
    partial.touch(mode=0o600)
    if store.sql.name == "sqlite":
        with suppress(OSError):  # whoever may not read the database may not read its backup
            mode = stat.S_IMODE(Path(store.engine.url.database or "").stat().st_mode)
            partial.chmod(mode | stat.S_IWUSR)  # the database itself may be only to be read
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(partial)))
    try:
        with engine.connect() as into:
            for pragma in (f"page_size = {_page_size(store)}", *_PRAGMAS):
                into.exec_driver_sql(f"PRAGMA {pragma}")
            into.commit()
            tables = build_tables()  # whatever they are called where they come from
            tables.metadata.create_all(into)
            rows.files.create(into)
            _copy(store, into, tables, progress)
            carried = _carry_files(workspace, into, tables) if indexes else set()
            _forget_places(tables, into)
            backup = _describe(store, into, tables, carried)
            into.commit()
    finally:
        engine.dispose()
    backup = replace(backup, bytes=partial.stat().st_size)
    seal(partial, backup)
    return backup


def _page_size(store: Store) -> int:
    c = store.tables.collections.c
    with store.connected() as connection:
        dim = connection.scalar(sa.select(c.dim).order_by(c.id).limit(1))
    return page_size(dim or 0)


def _copy(store: Store, into: sa.Connection, tables: Tables, progress: Progress | None) -> None:
    done = 0
    with store.reading() as reader:
        count = sa.select(sa.func.count()).select_from(store.tables.vectors)
        total = sum(row[0] for page in reader.pages(count, 1) for row in page)

        def report(more: int) -> None:
            nonlocal done
            done += more
            if progress is not None:
                progress(done, total)

        rows.copy_rows(store.tables, reader.pages, into, tables, report)
    collections = tables.collections.c
    numbering = Numbering(hot_sql("sqlite", tables), tables, Memory(tables))
    for number in into.execute(sa.select(collections.id)).scalars().all():
        numbering.all(into, number)  # what was committed when the snapshot began
    with store.connected() as connection:
        rows.go_on_from(into, tables, rows.last_numbers(connection, store.tables))


def _carry_files(workspace: Workspace, into: sa.Connection, tables: Tables) -> set[int]:
    """Put the newest file of each index into the backup; return the numbers of these indexes."""
    g = tables.generations.c
    published = sa.select(g.index_id, g.file, g.bytes, g.sha256).where(g.sha256 != "")
    newest = {}
    for index, file, size, sha in into.execute(published.order_by(g.generation)):
        newest[index] = (file, Digest(size, sha))
    return {
        index
        for index, (file, digest) in newest.items()
        if _carry(workspace, into, index, file, digest)
    }


def _carry(
    workspace: Workspace, into: sa.Connection, index: int, name: str, digest: Digest
) -> bool:
    """Put a file into the backup; False if it is damaged, or was replaced meanwhile."""
    if not rows.is_plain(name):
        return False
    path = workspace.folder_of(index) / name
    try:
        check_digest(path, digest)
        with path.open("rb") as file:
            for part, body in enumerate(iter(lambda: file.read(_BLOCK), b"")):
                row = {"index_id": index, "file": name, "part": part, "body": body}
                into.execute(sa.insert(rows.files), row)
    except (CorruptIndexError, FileNotFoundError):
        into.execute(sa.delete(rows.files).where(rows.files.c.index_id == index))
        return False
    return True


def _forget_places(tables: Tables, into: sa.Connection) -> None:
    """Leave out what stands in places that the backup does not hold: they are not what they were.

    What an attached index held is remembered: nobody of ours writes there.
    """
    t = tables
    g, files = t.generations.c, rows.files.c
    configs = into.execute(sa.select(t.indexes.c.id, t.indexes.c.config))
    attached = [index for index, config in configs if json.loads(config)["precision"] == ATTACHED]
    held = sa.exists().where(files.index_id == g.index_id, files.file == g.file)
    into.execute(sa.delete(t.generations).where(g.index_id.not_in(attached), ~held))
    used = sa.select(g.fingerprint)
    into.execute(sa.delete(t.quantizers).where(t.quantizers.c.fingerprint.not_in(used)))


def _describe(store: Store, into: sa.Connection, tables: Tables, carried: set[int]) -> Backup:
    def count(table: sa.Table) -> int:
        return into.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()

    return Backup(
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        requant=requant.__version__,
        schema=SCHEMA_VERSION,
        database=store.sql.name,
        collections=count(tables.collections),
        items=count(tables.items),
        indexes=tuple(sorted(carried)),
        bytes=0,
    )
