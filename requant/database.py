"""A database: one store and a folder of index files, opened by path or URL."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import get_args

import numpy as np
import sqlalchemy as sa

from requant.backup import Backup, write_backup
from requant.collection import Collection
from requant.errors import ExistsError, InputError
from requant.indexes import Progress, Secrets, Workspace, sweep
from requant.inputs import check_name, check_secrets
from requant.scores import Metric
from requant.store import CollectionRow, catalog, engine_of, ledger, open_store

MAX_DIM = 65_536


class Database:
    """Collections in one store. Made by `requant.open`; a context manager that closes at its end.

    Safe to share between threads. Several processes may have the same database open: one writes
    at a time, and nobody who reads waits.
    """

    def __init__(self, workspace: Workspace, temporary: bool = False) -> None:
        """Stand for a store and a folder of index files; see `requant.open`."""
        self._workspace = workspace
        self._store = workspace.store
        self._folder = workspace.folder
        self._temporary = temporary
        self._lock = threading.Lock()
        self._open: dict[int, Collection] = {}

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine, for transactions of your own."""
        return self._store.engine

    def create_collection(
        self, name: str, dim: int, metric: Metric = "cosine", *, exist_ok: bool = False
    ) -> Collection:
        """Add a collection of vectors of `dim` dimensions.

        Args:
            name: letters, digits, `_`, `-` and `.`.
            dim: 1 to 65,536.
            metric: `cosine`, `ip` (inner product) or `l2` (Euclidean distance).
            exist_ok: return the collection of that name if it has the same dimension and metric.

        Raises:
            ExistsError: the name is taken; InputError: an argument cannot be used.
        """
        check_name(name, "collection")
        whole = isinstance(dim, int | np.integer) and not isinstance(dim, bool)
        if not whole or not 1 <= dim <= MAX_DIM:
            raise InputError(f"dim must be an integer from 1 to {MAX_DIM}, not {dim!r}")
        if metric not in get_args(Metric):
            raise InputError(f"unknown metric {metric!r}: choose one of {get_args(Metric)}")
        try:
            return self._stand_for(catalog.create(self._store, name, int(dim), metric))
        except ExistsError:
            row = catalog.find(self._store, name)
            if exist_ok and (row.dim, row.metric) == (dim, metric):
                return self._stand_for(row)
            raise ExistsError(
                f"collection {name!r} already exists, with {row.dim} dimensions and metric "
                f"{row.metric!r}"
            ) from None

    def collection(self, name: str) -> Collection:
        """Return a collection; raises UnknownCollectionError, which lists those that exist."""
        return self._stand_for(catalog.find(self._store, name))

    def collections(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return [row.name for row in catalog.every(self._store)]

    def drop_collection(self, name: str) -> None:
        """Remove a collection with all its items and indexes; raises UnknownCollectionError."""
        row = catalog.find(self._store, name)
        indexes = ledger.every(self._store, row.id)
        catalog.drop(self._store, row)
        with self._lock:
            known = self._open.pop(row.id, None)
        if known is not None:
            known.let_go()
        sweep(self._workspace, indexes)

    def backup(
        self, path: str | Path, *, indexes: bool = False, progress: Progress | None = None
    ) -> Backup:
        """Write the database as it is now into one file, while others read and write.

        `requant.restore` puts it back, into SQLite or PostgreSQL. What is committed when this
        begins is in it, and nothing else; whatever goes wrong, `path` is a whole backup or absent.

        Args:
            path: the new file; nothing that exists is replaced.
            indexes: carry the newest published files of indexes, too; else, and for indexes that
                their engine keeps, they are made again from the vectors.
            progress: called as progress(done, total), in vectors.

        Raises:
            ExistsError: there is a file at `path`; StoreError: it cannot be written.
        """
        return write_backup(self._workspace, Path(path), indexes=indexes, progress=progress)

    def close(self) -> None:
        """Publish what indexes in memory hold, and close the connections; again is harmless."""
        with self._lock:
            collections, self._open = list(self._open.values()), {}
        with ExitStack() as closing:  # the last one first, and all of them whatever one raises
            if self._temporary:
                closing.callback(shutil.rmtree, self._folder.parent, ignore_errors=True)
            closing.callback(self._store.close)
            for collection in collections:
                closing.callback(collection.close)

    def __enter__(self) -> Database:
        """Return the database itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Show where the store is."""
        return f"<Database {self._store.engine.url!r}>"

    def _stand_for(self, row: CollectionRow) -> Collection:
        with self._lock:
            # One object a collection, so that an index is in memory once.
            fresh = Collection(self._workspace, row)
            return self._open.setdefault(row.id, fresh)


def open_database(
    target: str | Path | sa.Engine,
    *,
    folder: str | Path | None = None,
    secrets: Secrets | None = None,
) -> Database:
    """Open a database, as `requant.open` says, whose other half this is."""
    secrets = check_secrets(secrets)
    if isinstance(target, str) and target == ":memory:":
        home = Path(tempfile.mkdtemp(prefix="requant-"))
        engine, _ = engine_of(home / "store.db")
        store = open_store(engine, owned=True)
        weakref.finalize(store, shutil.rmtree, home, ignore_errors=True)
        return Database(Workspace(store, home / "indexes", secrets), temporary=True)
    engine, owned = engine_of(target)
    if folder is None:
        if engine.dialect.name != "sqlite":
            raise InputError("say where index files go: open(..., folder='indexes')")
        folder = f"{engine.url.database}.indexes"
    store = open_store(engine, owned=owned)
    return Database(Workspace(store, Path(folder).absolute(), secrets))
