"""A database: one store and a folder of index files, opened by path or URL."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, get_args

import numpy as np
import sqlalchemy as sa

from requant.backup import Backup, write_backup
from requant.collection import NOT_PICKLED, Collection
from requant.errors import ExistsError, InputError, UnsupportedError
from requant.indexes import Progress, Secrets, Workspace, folder_for, sweep
from requant.inputs import check_name, check_secrets
from requant.keep_up import KeepUp
from requant.metrics import Metrics, Observer, warn
from requant.migration import described, remember
from requant.scores import Metric
from requant.store import (
    CollectionRow,
    Identity,
    Lent,
    Store,
    Tables,
    catalog,
    check_fields,
    check_tokenizer,
    engine_of,
    folder_beside,
    identity,
    ledger,
    open_read_only,
    open_store,
    refuse_absent,
    text_index,
)
from requant.uncommitted import Uncommitted

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
        self._owner = os.getpid() if temporary else 0  # a forked child removes nothing
        self._open: dict[int, Collection] = {}
        self._keep_up: KeepUp | None = None
        self._uncommitted = Uncommitted(self._store, self._adopt)

    @property
    def read_only(self) -> bool:
        """Whether it was opened with `read_only=True`, so that writes raise ReadOnlyError."""
        return self._store.read_only

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine, for transactions of your own."""
        self._store.gate.check()
        return self._store.engine

    def create_collection(
        self,
        name: str,
        dim: int,
        metric: Metric = "cosine",
        *,
        exist_ok: bool = False,
        index_fields: Iterable[str] = (),
        full_text: bool | str = False,
        model: Any = None,
        connection: Lent | None = None,
    ) -> Collection:
        """Add a collection of vectors of `dim` dimensions.

        Args:
            name: letters, digits, `_`, `-` and `.`.
            dim: 1 to 65,536.
            metric: `cosine`, `ip` (inner product) or `l2` (Euclidean distance).
            exist_ok: return the collection of that name if it has the same dimension and metric;
                its fields are then indexed as well.
            index_fields: fields of the metadata that filters find without looking at every item,
                see `Collection.index_field`.
            full_text: index the words of documents, for `Collection.search_documents`: True, or a
                tokenizer as in `Collection.index_text`.
            model: what will embed its texts, as in `Collection.upsert_texts`, and with a name; by a
                name it is not loaded yet. With `exist_ok` it has to be the one that is remembered.
            connection: as in `Collection.upsert`: the collection comes to stay with its
                transaction. Until then only calls with that connection find it.

        Raises:
            ExistsError: the name is taken; InputError: an argument cannot be used.
        """
        check_name(name, "collection")
        whole = isinstance(dim, int | np.integer) and not isinstance(dim, bool)
        if not whole or not 1 <= dim <= MAX_DIM:
            raise InputError(f"dim must be an integer from 1 to {MAX_DIM}, not {dim!r}")
        if metric not in get_args(Metric):
            raise InputError(f"unknown metric {metric!r}: choose one of {get_args(Metric)}")
        fields = check_fields(index_fields)
        tokenizer = None if full_text is False else check_tokenizer(full_text)
        info = None if model is None else described(model, int(dim))
        try:
            row = catalog.create(
                self._store, name, int(dim), metric, fields, connection, tokenizer, info
            )
        except ExistsError:
            row = catalog.find(self._store, name, connection)
            if not exist_ok or (row.dim, row.metric) != (dim, metric):
                raise ExistsError(
                    f"collection {name!r} already exists, with {row.dim} dimensions and metric "
                    f"{row.metric!r}"
                ) from None
            if info is not None:
                with self._store.writing(connection) as given:
                    remember(given, self._store, row, info)
            known = self._with_fields(row, fields, connection)
            if tokenizer is not None:
                self._index_text(known, row, tokenizer, connection)
            return known
        if connection is None:
            return self._stand_for(row)
        made = Collection(self._workspace, row)
        self._uncommitted.hold(self._store.connection_of(connection), row, made)
        return made

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
        known = self._open.get(row.id)
        if known is not None and known.name == row.name:  # else it stands for another since a move
            del self._open[row.id]
            known.let_go()
        sweep(self._workspace, indexes)

    def keep_up(self, seconds: float = 0.1) -> None:
        """Let a thread bring the indexes up to date, until `close`, so that no search has to.

        Without it each search does a share of a few milliseconds, and reads from the store what an
        index lacks; `flush` does the whole. The thread looks every `seconds` at the collections
        that were opened here, in this process: a forked child calls `keep_up` itself. What goes
        wrong is said in an IndexWarning, and tried again. Raises InputError, StoreError,
        ReadOnlyError.

        >>> import requant
        >>> with requant.open(":memory:") as db:
        ...     db.keep_up()
        """
        self._store.gate.check()
        self._store.check_writable()
        before, self._keep_up = self._keep_up, KeepUp(self._shares, seconds)
        if before is not None:
            before.stop()

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
        self._store.gate.check()
        return write_backup(self._workspace, Path(path), indexes=indexes, progress=progress)

    def metrics(self) -> Metrics:
        """Return what this process has done with the database since it was opened here.

        Plain numbers, by collection and index; to read them asks no database. A forked child begins
        at zero.

        >>> import requant
        >>> with requant.open(":memory:") as db:
        ...     notes = db.create_collection("notes", dim=2)
        ...     _ = notes.upsert(["a"], [[1, 0]]), notes.search([1, 0])
        ...     found = db.metrics().collections["notes"]
        >>> found.searches.count, found.rows_written
        (1, 1)
        """
        store = self._store
        return Metrics(store.meters.seconds, store.log_bytes, store.meters.read())

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell an observer of every search, write, build... of this process, as it begins and ends.

        See `requant.metrics`; what is returned ends that when it is called.
        """
        return self._store.meters.observe(observer)

    def close(self) -> None:
        """Publish what indexes in memory hold, and close the connections; again is harmless."""
        collections, self._open = list(self._open.values()), {}
        keep_up, self._keep_up = self._keep_up, None
        if keep_up is not None:
            keep_up.stop()
        with ExitStack() as closing:  # the last one first, and all of them whatever one raises
            if self._owner == os.getpid():
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

    def __reduce__(self) -> NoReturn:
        """Raise UnsupportedError: what is open here is not open in another process."""
        raise UnsupportedError(NOT_PICKLED)

    def __repr__(self) -> str:
        """Show where the store is."""
        return f"<Database {self._store.engine.url!r}>"

    # Within

    def is_at(self, connection: sa.Connection) -> bool:
        """Whether a connection of another engine, within run_sync perhaps, sees this database."""
        self._store.gate.check()
        return identity.sees(self._store, connection)

    def _shares(self) -> list[Iterator[None]]:
        return [collection.follow() for collection in list(self._open.values())]

    def _with_fields(
        self, row: CollectionRow, fields: Sequence[str], lent: Lent | None
    ) -> Collection:
        """Return a collection that is there, with these fields indexed as well."""
        if lent is None:
            known = self._stand_for(row)
            there = {field.name for field in known.fields if field.ready}
        else:
            connection = self._store.connection_of(lent)
            made = self._uncommitted.find(connection, row)
            known = self._stand_for(row) if made is None else made
            there = set(catalog.ready_fields(connection, self._store, row))
        for field in fields:
            if field not in there and lent is not None:
                raise InputError(
                    f"field {field[:80]!r} of collection {row.name!r} is not indexed, which takes "
                    "transactions of its own: call index_field without connection="
                )
            if field not in there:
                known.index_field(field)
        return known

    def _index_text(
        self, known: Collection, row: CollectionRow, tokenizer: str, lent: Lent | None
    ) -> None:
        """See that the documents of a collection that is there are indexed."""
        if lent is None:
            known.index_text(tokenizer)
            return
        index = text_index(self._store.reader_of(lent), row)
        if index is None or not index.ready or index.tokenizer != tokenizer:
            raise InputError(
                f"the documents of collection {row.name!r} are not indexed by {tokenizer!r}, which "
                "takes transactions of its own: call index_text without connection="
            )

    def _stand_for(self, row: CollectionRow) -> Collection:
        # One object a collection, so that an index is in memory once; at once, without a lock that
        # a forked child might find held.
        return self._adopt(row, Collection(self._workspace, row))

    def _adopt(self, row: CollectionRow, fresh: Collection) -> Collection:
        known = self._open.setdefault(row.id, fresh)
        same = (known.name, known.dim, known.metric) == (row.name, row.dim, row.metric)
        if known.closed or not same:  # its transaction could not commit, and its id was given again
            self._open[row.id] = known = fresh
        return known


def open_database(
    target: str | Path | sa.Engine,
    *,
    folder: str | Path | None = None,
    secrets: Mapping[str, Mapping[str, Any]] | None = None,
    trust: Sequence[str] = (),
    read_only: bool = False,
    durable: bool = False,
    tables: Tables | None = None,
    create: bool = True,
) -> Database:
    """Open a database, as `requant.open` says, whose other half this is."""
    private = Secrets(check_secrets(secrets), trust)
    if not (tables is None or isinstance(tables, Tables)):
        raise InputError(
            "tables= takes what requant.integration.sqlalchemy.add_tables returns, not "
            f"{type(tables).__name__}"
        )
    if read_only:
        return _reading(target, folder, private, tables)
    if isinstance(target, str) and target == ":memory:":
        home = Path(tempfile.mkdtemp(prefix="requant-"))
        engine, _ = engine_of(home / "store.db")
        store = open_store(engine, owned=True, tables=tables)
        store.gate.live_in(home)
        weakref.finalize(store, _remove, home, os.getpid())
        ours = identity.establish(store)
        return Database(Workspace(store, home / "indexes", private, ours), temporary=True)
    engine, owned = engine_of(target, durable=durable)
    place = _folder(engine, folder, tables)
    if not create:
        refuse_absent(engine)
    store = open_store(engine, owned=owned, durable=durable, tables=tables, create=create)
    try:
        ours = identity.establish(store)
    except BaseException:
        store.close()
        raise
    if ours.shared:
        warn("store", _copied(store, ours), stacklevel=3)
    return Database(Workspace(store, folder_for(place, ours), private, ours))


def _copied(store: Store, ours: Identity) -> str:
    return (
        f"{store.engine.url!r} is a copy of the database at {ours.copied_from}: {ours.shared} "
        "place(s) of indexes on servers or at URLs are left to that one, and made again under "
        "names of their own when they are next used (if it was moved, not copied, remove the old "
        "ones)"
    )


def _reading(
    target: str | Path | sa.Engine,
    folder: str | Path | None,
    private: Secrets,
    tables: Tables | None,
) -> Database:
    store = open_read_only(target, tables=tables)
    try:
        place, ours = _folder(store.engine, folder, tables), identity.look(store)
        place = folder_for(place, ours, write=False)
        return Database(Workspace(store, place, private, ours))
    except BaseException:
        store.close()
        raise


def _folder(engine: sa.Engine, folder: str | Path | None, tables: Tables | None) -> Path:
    if folder is None:
        if engine.dialect.name != "sqlite":
            raise InputError("say where index files go: open(..., folder='indexes')")
        # Through a link, it is the same folder.
        return folder_beside(os.path.realpath(engine.url.database or ""), tables)
    return Path(folder).absolute()


def _remove(home: Path, owner: int) -> None:
    """Remove a temporary folder; a forked child leaves it to its parent."""
    if os.getpid() == owner:
        shutil.rmtree(home, ignore_errors=True)
