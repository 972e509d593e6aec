"""Where an index is kept: in a file for each generation, or in a place that its engine looks after.

Both have the same methods, so that whoever follows the store need not know which it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from requant.adapters import making, registry
from requant.adapters.files import Digest, check_digest, publish
from requant.adapters.protocol import Backend, IndexSpec
from requant.errors import (
    CorruptIndexError,
    IndexWarning,
    InputError,
    LocationTakenError,
    RequantError,
    UnsupportedError,
)
from requant.planning import trial_spec
from requant.quantizers.arrays import Codes
from requant.store import locations
from requant.store.engine import Store
from requant.store.ledger import Generation, IndexConfig, IndexRow
from requant.store.reader import Head, Reader, Watermark
from requant.store.schema import CollectionRow
from requant.turns import Turn

_ORPHAN_SECONDS = 3600.0
_ODD = re.compile("[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Premises:
    """What a database gives its indexes: the store, a folder, and what is told to no store."""

    store: Store
    folder: Path
    secrets: Mapping[str, Mapping[str, Any]] = field(repr=False)


class Home(Protocol):
    """Where one index is kept; `live` where its engine does so and all processes share it."""

    live: bool

    def turn(self, wait: bool) -> AbstractContextManager[bool]:
        """Be the only process that writes there.

        Yields False where another process is, or is writing to the store, unless `wait` is set.
        """

    def create(
        self, spec: IndexSpec, sample: Codes, mark: Watermark, overwrite: bool
    ) -> tuple[str, Backend]:
        """Return a new, empty index and the name of its place."""

    def open(self, generation: Generation, spec: IndexSpec) -> Backend:
        """Return what a generation names; raises CorruptIndexError."""

    def write(self, name: str, backend: Backend) -> tuple[str, Digest]:
        """Make an index durable, and return what its generation is called."""

    def head(self, reader: Reader | None) -> Head | None:
        """Return what the newest generation has become, None for one that never changes.

        As `reader` sees it, or as it is now.
        """

    def announce(self, name: str, seq: int) -> None:
        """Tell other processes that changes up to `seq` are going to be written."""

    def advance(self, name: str, mark: Watermark, items: int) -> None:
        """Tell other processes how far that has been done."""

    def clear(self, useless: set[str], keep: set[str]) -> None:
        """Remove what no generation names any more."""


class FileHome:
    """Each process has the index in its memory; generations are files that never change."""

    live = False

    def __init__(self, premises: Premises, row: IndexRow) -> None:
        """Keep the files of `row` in a folder of their own."""
        self._folder = premises.folder / str(row.id)
        self._config = row.config

    def turn(self, wait: bool) -> AbstractContextManager[bool]:
        """Nobody else writes to our memory."""
        return nullcontext(True)

    def create(
        self, spec: IndexSpec, sample: Codes, mark: Watermark, overwrite: bool
    ) -> tuple[str, Backend]:
        """Return an empty index in memory."""
        return "", making.create(registry.load(self._config.engine), spec, sample=sample)

    def open(self, generation: Generation, spec: IndexSpec) -> Backend:
        """Read or map a file, once its digest has been checked."""
        path = self._folder / generation.file
        try:
            check_digest(path, generation.digest)
            engine = registry.load(self._config.engine)
            backend = making.open(engine, spec, str(path), mmap=self._config.mmap)
        except OSError as error:
            raise CorruptIndexError(f"{path} cannot be read: {error}") from error
        if len(backend) != generation.items:
            raise CorruptIndexError(
                f"{path} holds {len(backend)} items, {generation.items} were written"
            )
        return backend

    def write(self, name: str, backend: Backend) -> tuple[str, Digest]:
        """Write a new file."""
        name = f"{uuid.uuid4().hex}.{self._config.engine}"
        return name, publish(self._folder / name, backend.flush)

    def head(self, reader: Reader | None) -> Head | None:
        """A file never changes."""
        return None

    def announce(self, name: str, seq: int) -> None:
        """Nobody needs to know."""

    def advance(self, name: str, mark: Watermark, items: int) -> None:
        """Nobody needs to know."""

    def clear(self, useless: set[str], keep: set[str]) -> None:
        """Delete files that no row names; a stranger's only when it cannot be in the making."""
        long_ago = time.time() - _ORPHAN_SECONDS
        for path in self._folder.glob("*"):  # nothing, if the folder itself has gone
            with contextlib.suppress(FileNotFoundError):
                ours = path.name in useless
                if path.name not in keep and (ours or path.stat().st_mtime < long_ago):
                    path.unlink()
        if not keep:
            with contextlib.suppress(OSError):
                self._folder.rmdir()


class LiveHome:
    """The engine keeps the index, in our folder or on a server; all processes share it."""

    live = True

    def __init__(self, premises: Premises, owner: CollectionRow, row: IndexRow) -> None:
        """Keep the index of `row` below its URL, or in a folder of its own."""
        self._premises = premises
        self._owner = owner
        self._row = row
        self._turn = Turn(premises.store, premises.folder / str(row.id), row.id)

    @contextmanager
    def turn(self, wait: bool) -> Iterator[bool]:
        """Hold the lock of this index."""
        with self._turn.held(wait) as ours:
            yield ours and (wait or self._premises.store.is_free(self._owner.id))

    def create(
        self, spec: IndexSpec, sample: Codes, mark: Watermark, overwrite: bool
    ) -> tuple[str, Backend]:
        """Let the engine make a new place, which is noted first."""
        store, name = self._premises.store, self._new_name()
        locations.add(store, self._row, name, mark)
        try:
            engine = registry.load(self._row.config.engine)
            backend = making.create(
                engine, spec, self._location(name), sample=sample, overwrite=overwrite
            )
        except BaseException as error:
            nothing = isinstance(error, LocationTakenError | InputError | UnsupportedError)
            if nothing or name == self._row.config.remote_name:
                locations.remove(store, self._row.id, name)
            raise  # what may have been half made under a name of ours is removed later
        locations.made(store, self._row.id, name)
        return name, backend

    def open(self, generation: Generation, spec: IndexSpec) -> Backend:
        """Let the engine open the place."""
        engine = registry.load(self._row.config.engine)
        return making.open(engine, spec, self._location(generation.file))

    def write(self, name: str, backend: Backend) -> tuple[str, Digest]:
        """Let the engine make durable what it has accepted."""
        backend.flush()
        return name, Digest(self._bytes(name), "")

    def head(self, reader: Reader | None) -> Head | None:
        """Return what all processes have made of the newest generation."""
        if reader is not None:
            return reader.head_of(self._row.id)
        with self._premises.store.reading() as now:
            return now.head_of(self._row.id)

    def announce(self, name: str, seq: int) -> None:
        """Note it in the store."""
        locations.announce(self._premises.store, self._row.id, name, seq)

    def advance(self, name: str, mark: Watermark, items: int) -> None:
        """Note it in the store."""
        locations.advance(self._premises.store, self._row.id, name, mark, items)

    def clear(self, useless: set[str], keep: set[str]) -> None:
        """Let the engine remove every other place of this index."""
        store = self._premises.store
        for name in locations.names(store, self._row.id) - keep:
            remove(self._premises, locations.Location(self._row.id, name, self._row.config))

    def _new_name(self) -> str:
        config, random = self._row.config, uuid.uuid4().hex
        if config.url is None:
            return f"{random}.{config.engine}"
        wish = config.remote_name
        if wish and wish not in locations.names(self._premises.store, self._row.id):
            return wish
        base = wish or f"requant-{self._owner.name}-{self._row.name}"
        return f"{_ODD.sub('-', base)}-{random[:8]}"

    def _location(self, name: str) -> str:
        return _location(self._premises, self._row.id, self._row.config, name)

    def _bytes(self, name: str) -> int:
        """Return the size of a local folder, 0 for what is elsewhere."""
        return 0 if self._row.config.url is not None else on_disk(Path(self._location(name)))


def on_disk(path: Path) -> int:
    """Return the bytes that a file or folder takes: engines make files that are mostly holes."""
    found = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(_allotted(each.stat()) for each in found)


def _allotted(stat: os.stat_result) -> int:
    return 512 * stat.st_blocks if hasattr(stat, "st_blocks") else stat.st_size  # none on Windows


def home_of(premises: Premises, owner: CollectionRow, row: IndexRow) -> Home:
    """Return where an index is kept; raises EngineMissingError, UnknownEngineError."""
    if registry.load(row.config.engine).capabilities.storage == "live":
        return LiveHome(premises, owner, row)
    return FileHome(premises, row)


def sweep(premises: Premises, dropped: list[IndexRow]) -> None:
    """Remove the files and places of `dropped` indexes, and what remained where they were."""
    urls = {row.config.url for row in dropped} | {None}
    for place in locations.orphans(premises.store):
        if place.config.url in urls:
            remove(premises, place)
    for row in dropped:
        shutil.rmtree(premises.folder / str(row.id), ignore_errors=True)


def remove(premises: Premises, place: locations.Location) -> None:
    """Let an engine remove a place; if it cannot, that is said, and tried again later."""
    where = _location(premises, place.index, place.config, place.name)
    try:
        if not place.ours:
            raise LocationTakenError(f"{where} may be somebody else's")
        spec = trial_spec(place.config, premises.secrets)
        registry.load(place.config.engine).drop(spec, where)
    except LocationTakenError:
        pass  # somebody else's stands there now
    except RequantError as error:
        text = f"{where} cannot be removed ({error}); tried again when an index there is dropped"
        warnings.warn(text, IndexWarning, stacklevel=2)
        return
    locations.remove(premises.store, place.index, place.name)


def _location(premises: Premises, index: int, config: IndexConfig, name: str) -> str:
    if config.url is None:
        return str(premises.folder / str(index) / name)
    return f"{config.url.rstrip('/')}/{name}"
