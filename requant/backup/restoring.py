"""Putting a backup back: into a SQLite file, which is whole or absent, or into PostgreSQL."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa

from requant.adapters.files import publish
from requant.backup.postgresql import fill
from requant.backup.replacing import check_free, replacing
from requant.backup.sealing import Backup
from requant.backup.unpacking import (
    index_text_again,
    remove_others,
    rename,
    undone,
    unpack,
)
from requant.backup.writing import problems
from requant.errors import CorruptDataError, InputError, StoreError
from requant.store import Tables, build_tables, engine_of, folder_beside, open_store


def restore(
    file: str | os.PathLike[str],
    target: str | os.PathLike[str] | sa.Engine,
    *,
    overwrite: bool,
    folder: str | os.PathLike[str] | None,
    tables: Tables | None = None,
) -> Backup:
    """Put a backup back, as `requant.restore` says, whose other half this is."""
    source = Path(file)
    if not source.is_file():
        raise StoreError(f"there is no backup at {source}")
    if source.with_name(f"{source.name}-wal").exists():
        # To read it would be enough: closing it ends the locks of a database that is open here.
        raise CorruptDataError(f"{source} is a SQLite database that is in use, and no backup")
    if target == ":memory:":
        raise InputError("a database in memory is gone when it is closed: restore to a path")
    home = None if folder is None else Path(folder).absolute()
    engine, owned = engine_of(target)
    try:
        with problems(f"restore {source}"):
            if engine.dialect.name == "sqlite":
                path = Path(os.path.realpath(engine.url.database or ""))
                return _to_sqlite(source, path, overwrite, home, tables or build_tables())
            return _to_postgresql(source, engine, overwrite, home, tables)
    finally:
        if owned:
            engine.dispose()


def _to_sqlite(
    source: Path, path: Path, overwrite: bool, folder: Path | None, tables: Tables
) -> Backup:
    home = folder or folder_beside(path, tables)
    placed: dict[Path, bool] = {}
    found: list[tuple[Backup, bool]] = []
    check_free(path, overwrite)
    with ExitStack() as stack:

        def write(partial: str) -> None:
            Path(partial).touch(mode=0o600)
            shutil.copymode(source, partial)
            backup = unpack(source, Path(partial), home, placed)
            rename(Path(partial), tables)
            index_text_again(Path(partial), tables)
            # Once the backup is known to be good, and until it is in the other's place.
            found.append((backup, stack.enter_context(replacing(path, overwrite, tables.prefix))))

        with undone(placed):
            publish(path, write)
    ((backup, replaced),) = found
    if replaced and folder is None:
        remove_others(home, placed)
    return backup


def _to_postgresql(
    source: Path,
    engine: sa.Engine,
    overwrite: bool,
    folder: Path | None,
    tables: Tables | None,
) -> Backup:
    placed: dict[Path, bool] = {}
    with undone(placed), tempfile.TemporaryDirectory(prefix="requant-restore-") as home:
        partial = Path(home) / "backup.db"
        backup = unpack(source, partial, folder, placed)
        # Opened, it is brought up to the schema of today.
        ours = open_store(engine_of(partial)[0], owned=True)
        try:
            fill(open_store(engine, owned=False, tables=tables), ours, overwrite)
        finally:
            ours.close()
    return backup
