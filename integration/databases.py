"""Opening what a command names, without making what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

import requant
from requant.collection import Collection
from requant.database import Database
from requant.errors import InputError, StoreError
from requant.store import (
    SCHEMA_VERSION,
    Tables,
    build_tables,
    engine_of,
    hint_of_others,
    place,
    refuse_absent,
    upgrade,
)


@contextmanager
def existing(
    target: str,
    folder: str | None,
    *,
    read_only: bool = False,
    trust: Sequence[str] | None = None,
    tables: Tables | None = None,
) -> Iterator[Database]:
    """Open a database that is there; raises InputError or StoreError where none is."""
    if not read_only:  # which makes nothing
        _check_exists(target, tables or build_tables())
    with requant.open(
        target, folder=folder, read_only=read_only, trust=tuple(trust or ()), tables=tables
    ) as database:
        yield database


def others(target: str, tables: Tables) -> str:
    """Return a sentence about tables of other names where these are missing, "" if there are none.

    Nothing is opened that is not there. Raises StoreError.
    """
    url = _url(target)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return ""
    return _missing(url, target, tables) or ""


def upgraded(target: str, tables: Tables) -> tuple[int | None, int]:
    """Bring a database's tables up to date; return their version before, if any, and now.

    Raises InputError, and StoreError where there is no such database, or a newer one.
    """
    engine, _ = engine_of(target)
    try:
        refuse_absent(engine)
        with engine.begin() as connection:
            before = upgrade(connection, place(connection, tables))
    except sa.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"cannot upgrade {shown(target)}: {cause}") from error
    finally:
        engine.dispose()
    return None if before is None else int(before), SCHEMA_VERSION


def chosen(database: Database, name: str | None) -> list[Collection]:
    """Return one collection, or all of them."""
    names = [name] if name is not None else database.collections()
    return [database.collection(name) for name in names]


def shown(target: str) -> str:
    """Return a database's name for people: a URL without its password.

    >>> shown("postgresql://ada:secret@host/notes")
    'postgresql://ada:***@host/notes'
    """
    if "://" not in target:
        return target
    try:
        return sa.make_url(target).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return "the database URL"


def _check_exists(target: str, tables: Tables) -> None:
    """Raise unless requant's tables are there: opening would make them in silence."""
    url = _url(target)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if not url.database or not path.is_file():
            kind = "is a folder" if path.is_dir() and url.database else "does not exist"
            raise InputError(
                f"database {shown(target)} {kind}: check the path, or make it with `requant import`"
            )
    hint = _missing(url, target, tables)
    if hint is not None:
        raise InputError(
            f"{shown(target)} is not a requant database: "
            + (hint or "check the path, or fill it with `requant import`")
        )


def _missing(url: sa.URL, target: str, tables: Tables) -> str | None:
    """Return None where the tables are there, else what is known of others, or ""."""
    try:
        engine = sa.create_engine(url)
        try:
            with engine.connect() as connection:
                ours = place(connection, tables)
                there = sa.inspect(connection).has_table(ours.meta.name, schema=ours.schema)
                return None if there else hint_of_others(connection, ours)
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(f"cannot open {shown(target)}: {cause}") from error


def _url(target: str) -> sa.URL:
    if "://" not in target:
        return sa.URL.create("sqlite", database=target)
    try:
        return sa.make_url(target)
    except sa.exc.ArgumentError as error:
        raise InputError(f"{target.split('://')[0]}://... is no database URL: {error}") from error
