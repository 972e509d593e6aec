"""An index that its engine keeps, in our folder or on a server; all processes share it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from requant.adapters import making, registry
from requant.adapters.files import Digest
from requant.adapters.hosts import folder_of
from requant.adapters.protocol import Backend, IndexSpec
from requant.errors import InputError, LocationTakenError, UnsupportedError
from requant.indexes.folders import admit
from requant.indexes.location.bond import Bond, wrote
from requant.indexes.location.removal import check_folder, remove
from requant.indexes.location.workspace import Workspace, on_disk
from requant.indexes.location.write_lock import WriteLock
from requant.quantizers.arrays import Codes
from requant.store import (
    CollectionRow,
    Generation,
    Head,
    IndexRow,
    Reader,
    Watermark,
    ledger,
    locations,
)

_ODD = re.compile("[^A-Za-z0-9_-]+")


class LiveLocation:
    """The engine keeps the index, in our folder or on a server; all processes share it."""

    live = True
    attached = False
    complaint: str | None = None

    def __init__(self, workspace: Workspace, owner: CollectionRow, row: IndexRow) -> None:
        """Keep the index of `row` below its URL, or in a folder of its own."""
        self._workspace = workspace
        self._owner = owner
        self._row = row
        self.own: bool = row.config.url is None
        place = "folder" if row.config.url is None else "server"
        self.readable: bool = (
            place in registry.load(row.config.engine).capabilities.read_only
            and workspace.identity.copied_from is None
        )
        self._write_lock = WriteLock(workspace.store, workspace.folder_of(row.id), row.id)
        self._bond = Bond(workspace, owner, row)

    @contextmanager
    def write_lock(self, wait: bool) -> Iterator[bool]:
        """Hold the lock of this index."""
        with self._write_lock.held(wait) as ours:
            yield ours and (wait or self._workspace.store.is_free(self._owner.id))

    def create(
        self, spec: IndexSpec, sample: Codes, mark: Watermark, overwrite: bool
    ) -> tuple[str, Backend]:
        """Let the engine make a new place, which is noted first."""
        wish = self._wish()
        try:
            return self._create(wish or self._made_up(), spec, sample, mark, overwrite)
        except LocationTakenError:
            # The name was ours, and is not any more; of a new index, the user is to decide.
            if wish is None or not ledger.was_published(self._workspace.store, self._row.id):
                raise
        return self._create(self._made_up(), spec, sample, mark, False)

    def open(self, generation: Generation, spec: IndexSpec) -> Backend:
        """Let the engine open the place; raises CorruptIndexError if it is not as we left it.

        Raises UntrustedHostError for a folder that nobody has named but the store.
        """
        engine, name = registry.load(self._row.config.engine), generation.file
        self._check_folder([name])
        backend: Backend = making.open(engine, spec, self._address(name))
        try:
            self._bond.renew(name, backend, int(generation.stamp or 0))
        except BaseException:
            backend.close()
            raise
        return backend

    def write(self, name: str, backend: Backend) -> tuple[str, Digest]:
        """Let the engine make durable what it has accepted."""
        backend.flush()
        return name, Digest(self._bytes(name), "")

    def stamp(self, name: str) -> str | None:
        """Return the serial under which the place was last written to."""
        place = locations.find(self._workspace.store, self._row.id, name)
        return None if place is None else str(place.serial)

    def head(self, reader: Reader | None) -> Head | None:
        """Return what all processes have made of the newest generation."""
        if reader is not None:
            return reader.head_of(self._row.id)
        with self._workspace.store.reading() as now:
            return now.head_of(self._row.id)

    def holds(self, name: str, backend: Backend) -> bool:
        """Whether the place is still ours, which is asked now and then."""
        return self._bond.holds(name, backend)

    def followed_to(self, name: str, backend: Backend, seq: int) -> bool:
        """Ask the place, which is told of every write before it is made."""
        return self._bond.followed_to(backend, seq)

    def announce(self, name: str, backend: Backend, seq: int) -> None:
        """Note it in the store, durably, and then in the place."""
        self._bond.announce(name, backend, seq)

    def check_turn(self, name: str) -> None:
        """Raise StoreError if another process has begun to write there."""
        self._bond.check_turn(name)

    def advance(self, name: str, mark: Watermark, items: int) -> None:
        """Note it in the store."""
        self._bond.advance(name, mark, items)

    def clear(self, useless: set[str], keep: set[str]) -> None:
        """Let the engine remove every other place of this index."""
        store = self._workspace.store
        for name in locations.names(store, self._row.id) - keep:
            remove(self._workspace, locations.LocationRow(self._row.id, name, self._row.config))

    def _create(
        self, name: str, spec: IndexSpec, sample: Codes, mark: Watermark, overwrite: bool
    ) -> tuple[str, Backend]:
        store = self._workspace.store
        self._check_folder(locations.names(store, self._row.id))
        self._workspace.claim()
        folder = folder_of(self._row.config.url)
        if folder is not None:
            admit(folder, self._workspace.identity)
        locations.add(store, self._row, name, mark)
        try:
            engine = registry.load(self._row.config.engine)
            backend = making.create(
                engine, spec, self._address(name), sample=sample, overwrite=overwrite
            )
        except BaseException as error:
            nothing = isinstance(error, LocationTakenError | InputError | UnsupportedError)
            if nothing or name == self._row.config.remote_name:
                locations.remove(store, self._row.id, name)
            raise  # what may have been half made under a name of ours is removed later
        locations.made(store, self._row.id, name)
        wrote(self._address(name))
        return name, backend

    def _check_folder(self, names: Iterable[str]) -> None:
        check_folder(self._workspace, self._row.id, self._row.config, names)

    def _wish(self) -> str | None:
        """Return the name that was asked for, unless it is in use."""
        config = self._row.config
        if config.url is None or not config.remote_name:
            return None
        used = locations.names(self._workspace.store, self._row.id)
        return None if config.remote_name in used else config.remote_name

    def _made_up(self) -> str:
        config, random = self._row.config, uuid.uuid4().hex
        if config.url is None:
            return f"{random}.{config.engine}"
        base = config.remote_name or f"requant-{self._owner.name}-{self._row.name}"
        return f"{_ODD.sub('-', base)}-{random[:8]}"

    def _address(self, name: str) -> str:
        return self._workspace.address_of(self._row.id, self._row.config, name)

    def _bytes(self, name: str) -> int:
        """Return the size of a local folder, 0 for what is elsewhere."""
        return 0 if self._row.config.url is not None else on_disk(Path(self._address(name)))
