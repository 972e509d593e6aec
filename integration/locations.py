"""Databases that several stores of one process use together: opened once, closed by the last."""

from __future__ import annotations

import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import requant
from requant.database import Database
from requant.errors import IndexWarning, InputError

Location = str | os.PathLike[str] | sa.Engine | Database
MEMORY = ":memory:"


class _Shared:
    """One open database and how many stores use it."""

    def __init__(self, database: Database, folder: str | None) -> None:
        self.database = database
        self.folder = folder
        self.users = 0


_shared: dict[Any, _Shared] = {}
# Held while a database is opened, so that two threads do not open it twice; and by which thread.
_lock = threading.Lock()
_holder: int | None = None
# Given back in the midst of that by the same thread, where garbage was collected.
_late: deque[tuple[Any, _Shared]] = deque()


def borrow(
    location: Location, folder: str | os.PathLike[str] | None = None
) -> tuple[Database, Callable[[], None]]:
    """Return the database at a location, and what gives it back; again is harmless.

    A path, however it is written, a URL and an engine are opened once in a process: two stores on
    one file share what is in memory, and an engine that only one may open, as embedded Qdrant, is.
    `":memory:"` is each one's own. A `Database` is its owner's to close.

    Args:
        location: a path, a URL, a SQLAlchemy engine or a `requant.Database`.
        folder: where index files are kept, as in `requant.open`.

    Raises:
        InputError: none of these, or a folder for what is open with another; StoreError: it cannot
            be opened.

    >>> database, give_back = borrow(":memory:")
    >>> database.collections()
    []
    >>> give_back()
    """
    place = None if folder is None else os.path.realpath(folder)
    if place is not None and location == MEMORY:
        raise InputError("a database in memory keeps its indexes with it: leave folder= out")
    if isinstance(location, Database):
        if place is not None:
            raise InputError("folder= is said where the database is opened: requant.open(folder=)")
        return location, lambda: None
    if location == MEMORY:
        database = requant.open(MEMORY)
        return database, database.close
    key = _key(location)
    with _held():
        shared = _shared.get(key)
        if shared is None:
            shared = _shared[key] = _Shared(requant.open(_target(location), folder=place), place)
        elif place not in (None, shared.folder):
            raise InputError(
                f"the database is open in this process with folder={shared.folder!r}, not "
                f"{place!r}: give both stores the same folder, or one requant.Database"
            )
        shared.users += 1
    return shared.database, _once(lambda: _give_back(key, shared))


def new_file(location: Location) -> str | None:
    """Return the file that opening the database at a location makes, None where it makes none."""
    if not isinstance(location, str | os.PathLike) or location == MEMORY:
        return None
    key = _key(location)
    return key if isinstance(key, str) and not os.path.lexists(key) else None


def warn_if_new(location: Location) -> None:
    """Warn where what was written down of a store leads to no database, so that one is made."""
    if (file := new_file(location)) is not None:
        warnings.warn(
            f"there is no database at {file}: an empty one is made there, since what describes "
            "the store does not say must_exist",
            IndexWarning,
            stacklevel=3,
        )


@contextmanager
def _held() -> Iterator[None]:
    global _holder
    with _lock:
        _holder = threading.get_ident()
        try:
            yield
        finally:
            while _late:
                _given_back(*_late.popleft())
            _holder = None


def _give_back(key: Any, shared: _Shared) -> None:
    if _holder == threading.get_ident():
        _late.append((key, shared))
        return
    with _held():
        _given_back(key, shared)


def _given_back(key: Any, shared: _Shared) -> None:
    shared.users -= 1
    if shared.users:
        return
    _shared.pop(key, None)
    # Within the lock: who opens it next finds what this publishes.
    shared.database.close()


def _once(action: Callable[[], None]) -> Callable[[], None]:
    todo = [action]

    def give_back() -> None:
        while todo:
            todo.pop()()

    return give_back


def _target(location: str | os.PathLike[str] | sa.Engine) -> str | Path | sa.Engine:
    return location if isinstance(location, str | sa.Engine) else Path(location)


def _key(location: object) -> Any:
    """Return what is the same for two ways to name one place."""
    if isinstance(location, sa.Engine):
        return location  # by identity: its transactions are its application's
    if not isinstance(location, str | os.PathLike) or not str(location):
        raise InputError(
            "location is a path, a URL, a SQLAlchemy engine or a requant.Database, not "
            f"{location!r}"
        )
    if "://" not in str(location):
        return os.path.realpath(location)
    try:
        url = sa.make_url(str(location))
    except sa.exc.ArgumentError as error:
        raise InputError(f"{str(location).split('://')[0]}://... is no URL: {error}") from error
    plain = url.get_backend_name() == "sqlite" and url.database and not url.query
    return os.path.realpath(str(url.database)) if plain else url


def _after_fork() -> None:
    global _lock, _holder  # another thread of the parent may have held it
    _lock, _holder = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
