"""What is in a backup: a database that is ready to be opened, and the files of its indexes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Container, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from requant.adapters.files import publish
from requant.backup import tables as rows
from requant.backup.sealing import Backup, unseal
from requant.errors import CorruptDataError, InputError, StoreError
from requant.store import PREFIX, SCHEMA_VERSION, Tables, build_tables, make_text_again


def unpack(source: Path, target: Path, folder: Path | None, placed: dict[Path, bool]) -> Backup:
    """Make `target` the database in a backup, and put its index files below `folder`.

    Without a folder they are left out, and made again from the vectors. What was put there is
    added to `placed`, with whether it is new there. Nobody is to have `target` open; it is not
    synced.
    """
    backup = unseal(source, target)
    if backup.schema > SCHEMA_VERSION:
        raise StoreError(
            f"{source} has schema {backup.schema}, this requant reads {SCHEMA_VERSION}: upgrade "
            "requant"
        )
    tables = build_tables()
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(target)))
    try:
        with engine.connect() as connection:
            for pragma in ("journal_mode = OFF", "synchronous = OFF"):
                connection.exec_driver_sql(f"PRAGMA {pragma}")
            if folder is None:
                _leave_out(connection, tables)
            else:
                _take_out(connection, folder, placed)
            _look_for_home_again(connection, tables)
            rows.files.drop(connection)
            connection.commit()
    finally:
        engine.dispose()
    return backup


def index_text_again(target: Path, tables: Tables) -> None:
    """Make the text indexes of a database that was unpacked: a backup has only noted them."""
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(target)))
    try:
        with engine.begin() as connection:
            make_text_again(connection, tables)
    finally:
        engine.dispose()


def rename(target: Path, tables: Tables) -> None:
    """Give the tables of a database that was unpacked the names that they are to have."""
    if tables.schema is not None:
        raise InputError(f"schema {tables.schema!r}: SQLite has none; give the tables a prefix")
    if tables.prefix == PREFIX:
        return
    with closing(sqlite3.connect(target)) as connection, connection:
        found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        there = {name for (name,) in found}
        for kind in tables.kinds():
            if f"{PREFIX}{kind}" in there:
                name = tables.quoted(kind)
                connection.execute(f"ALTER TABLE {PREFIX}{kind} RENAME TO {name}")


@contextmanager
def undone(placed: Mapping[Path, bool]) -> Iterator[None]:
    """Remove again what was put there, if what is done with it fails."""
    try:
        yield
    except BaseException:
        for path in (path for path, new in placed.items() if new):
            path.unlink(missing_ok=True)
        raise


def remove_others(folder: Path, kept: Container[Path]) -> None:
    """Remove what the indexes of a database that was replaced have left, and nothing else."""
    for home in folder.glob("[0-9]*"):
        if not home.name.isdigit() or home.is_symlink() or not home.is_dir():
            continue
        for entry in home.iterdir():
            if not rows.is_plain(entry.name) or entry in kept:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _take_out(connection: sa.Connection, folder: Path, placed: dict[Path, bool]) -> None:
    f = rows.files.c
    for index, name in connection.execute(sa.select(f.index_id, f.file).distinct()).all():
        if not rows.is_plain(name):
            raise CorruptDataError(f"{name!r} is no name of an index file: not a backup of ours")
        path = folder / str(int(index)) / name
        placed[path] = not path.exists()
        publish(path, partial(_write, connection, index, name))


def _write(connection: sa.Connection, index: int, name: str, target: str) -> None:
    with Path(target).open("wb") as file:
        for body in _parts(connection, index, name):
            file.write(body)


def _parts(connection: sa.Connection, index: int, name: str) -> Iterator[bytes]:
    f = rows.files.c
    of_file = sa.select(f.body).where(f.index_id == index, f.file == name).order_by(f.part)
    options = {"stream_results": True, "yield_per": 1}
    yield from connection.execute(of_file, execution_options=options).scalars()


def _leave_out(connection: sa.Connection, tables: Tables) -> None:
    g, f = tables.generations.c, rows.files.c
    held = sa.exists().where(f.index_id == g.index_id, f.file == g.file)
    connection.execute(sa.delete(tables.generations).where(held))


def _look_for_home_again(connection: sa.Connection, tables: Tables) -> None:
    """Let it be told by its path and machine alone whether this is the database or a copy.

    Another file may have the number that the original's had, on another machine.
    """
    of_identity = tables.meta.c.name == "identity"
    text = connection.scalar(sa.select(tables.meta.c.value).where(of_identity))
    if text is None:
        return
    known = json.loads(text)
    if "inode" in known.get("home", {}):
        known["home"]["inode"] = None
        update = sa.update(tables.meta).where(of_identity).values(value=json.dumps(known))
        connection.execute(update)
