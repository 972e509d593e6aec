"""Databases on one store, and a backup of it: what the random histories are made with."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import requant
from requant.collection import Collection
from requant.database import Database
from requant.errors import IndexWarning
from requant.scores import Metric
from requant.testing.stateful.model import Model

_numbers = itertools.count()


class Kept(NamedTuple):
    """What was in the store when it was copied."""

    model: Model
    configs: Mapping[str, Mapping[str, Any]]


class World:
    """A store that is opened twice, as two processes would, or as often as `handles` says."""

    def __init__(self, url: str | None, handles: int) -> None:
        """Make an empty one: a SQLite file of its own, or a collection of its own at `url`."""
        self.handles: int = handles
        self.home: Path = Path(tempfile.mkdtemp(prefix="requant-stateful-"))
        self.url: str | None = url
        self.name: str = f"notes-{next(_numbers)}"
        self.file: Path = self.home / "notes.requant"
        self.databases: list[Database] = []
        self.kept: Kept | None = None
        self.restored: bool = False
        self.open_all()

    def create(self, metric: Metric, dim: int) -> None:
        """Make the collection, in place of one that an earlier run left at the URL."""
        if self.name in self.databases[0].collections():
            self.databases[0].drop_collection(self.name)
        self.databases[0].create_collection(self.name, dim, metric)

    def collection(self, who: int) -> Collection:
        """Return the collection as one of the databases sees it."""
        return self.database(who).collection(self.name)

    def database(self, who: int) -> Database:
        """Return one of the databases; the only one, where the engine bears no second."""
        return self.databases[who % self.handles]

    def open_all(self) -> None:
        """Open all of them."""
        self.databases = [self._open() for _ in range(self.handles)]

    def close_all(self) -> None:
        """Close all of them."""
        databases, self.databases = self.databases, []
        for database in databases:
            database.close()

    def reopen(self, who: int) -> None:
        """Close one of the databases, and open it again."""
        self.database(who).close()
        self.databases[who % self.handles] = self._open()

    def back_up(self, kept: Kept) -> None:
        """Copy the store, not the indexes, while it is in use."""
        with (
            closing(sqlite3.connect(self.file)) as source,
            closing(sqlite3.connect(self._backup)) as target,
        ):
            source.backup(target)
        self.kept = kept

    def restore(self) -> Kept:
        """Put the copy back in the place of the store, whose indexes stay as they are."""
        assert self.kept is not None
        with self.calm():
            self.close_all()
        for end in ("", "-wal", "-shm"):
            Path(f"{self.file}{end}").unlink(missing_ok=True)
        shutil.copy(self._backup, self.file)
        self.restored = True
        self.open_all()
        return self.kept

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Let no warning of a damaged index pass, unless a backup was restored."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if self.restored else "error", IndexWarning)
            warnings.filterwarnings("ignore", ".*the vectors have unequal norms", IndexWarning)
            yield

    def remove(self) -> None:
        """Leave nothing behind."""
        if self.url is not None and self.databases:
            self.databases[0].drop_collection(self.name)
        with suppress(requant.RequantError), warnings.catch_warnings():
            warnings.simplefilter("ignore", IndexWarning)
            self.close_all()
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def _backup(self) -> Path:
        return self.home / "backup"

    def _open(self) -> Database:
        if self.url is not None:
            return requant.open(self.url, folder=self.home / "indexes")
        return requant.open(self.file)
