"""The indexes of one collection: added, chosen, dropped, and followed while in use."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress

from requant.errors import (
    CorruptDataError,
    CorruptIndexError,
    EngineError,
    EngineMissingError,
    ExistsError,
    RequantError,
    StoreError,
    UnknownIndexError,
)
from requant.indexes.following import FollowingIndex, Progress
from requant.indexes.loaded import Loaded
from requant.indexes.location import Workspace, sweep
from requant.indexes.spec import check_config, check_same
from requant.metrics import warn
from requant.store import (
    CollectionRow,
    CollectionState,
    IndexConfig,
    IndexRow,
    Reader,
    key_range,
    ledger,
    migrations,
)

# How often to catch up with other processes that publish while an index is rebuilt.
_TRIES = 5
# Fewer items are read in less time than anybody would notice.
_MANY = 10_000
_FOLLOWED: tuple[int, ...] = ()


class IndexSet:
    """What `Collection` does with its indexes; names are the user's, numbers the ledger's."""

    def __init__(self, workspace: Workspace, owner: CollectionRow) -> None:
        """Stand for the indexes of `owner`."""
        self._workspace = workspace
        self._store = workspace.store
        self._owner = owner
        self._following: dict[int, FollowingIndex] = {}
        self._pid = os.getpid()
        self._told = False

    def add(
        self, name: str, config: IndexConfig, progress: Progress | None, *, overwrite: bool
    ) -> None:
        """Record an index and build it; whatever goes wrong, nothing of it remains."""
        self._workspace.secrets.trust(config)
        check_config(config, self._workspace.secrets, self._owner)
        row = ledger.add(self._store, self._owner.id, name, config)
        try:
            self._store.number(self._owner.id, wait=True)
            with self._store.reading() as reader:
                state = reader.state_of(self._owner)
                self._follow(row).rebuild(reader, state, progress, overwrite=overwrite)
            # Not before: searches, here and in other processes, would wait for it or build it too.
            ledger.activate(self._store, row)
        except BaseException:
            self.drop(name)
            raise

    def ensure(
        self, name: str, config: IndexConfig, progress: Progress | None, *, overwrite: bool
    ) -> None:
        """Add an index unless there is one of that name and config; raises ExistsError of another.

        Where another process is building it, or was interrupted, it is there when this returns.
        """
        self._workspace.secrets.trust(config)
        for _ in range(_TRIES):
            rows = ledger.every(self._store, self._owner.id)
            row = next((row for row in rows if row.name == name), None)
            if row is not None:
                check_same(row, config)
                if self._is_there(row, progress):
                    return
                continue
            with suppress(ExistsError):  # somebody was faster
                self.add(name, config, progress, overwrite=overwrite)
                return
        raise StoreError(f"index {name!r} is added and dropped by others again and again")

    def _is_there(self, row: IndexRow, progress: Progress | None) -> bool:
        """Finish what adding an index has left undone; tell whether it was not dropped meanwhile.

        Whoever added it may have been killed, or may be about to let searches use it.
        """
        try:
            if not ledger.was_published(self._store, row.id):
                self.build(row, progress)
            with self._store.reading() as reader:
                unused = reader.state_of(self._owner).active is None
            moved = migrations.every(self._store, self._owner.id)  # and rolled back, by choice
            if unused and not self._store.read_only and all(one.index != row.id for one in moved):
                ledger.activate(self._store, row)
        except UnknownIndexError:
            self._forget(row.id)
            return False
        return True

    def use(self, name: str) -> None:
        """Make an index the one that searches use."""
        ledger.use(self._store, self._named(name))

    def drop(self, name: str) -> None:
        """Remove an index and its files, also one of which the store says what cannot be."""
        row = ledger.to_drop(self._store, self._owner.id, name)
        ledger.drop(self._store, row)
        self._forget(row.id)
        sweep(self._workspace, [row])

    def rebuild(self, name: str | None, progress: Progress | None) -> None:
        """Fit and encode an index anew; None stands for the one in use."""
        self._store.check_writable()
        self._store.number(self._owner.id, wait=True)
        with self._store.reading() as reader:
            state = reader.state_of(self._owner)
            if name is None and state.active is None:
                raise UnknownIndexError(
                    f"collection {self._owner.name!r} has no index: add one with add_index"
                )
            following = self._named_or_active(reader, state, name)
            assert following is not None
            recorded = following.rebuild(reader, state, progress)
        for _ in range(_TRIES):
            if recorded:
                return
            with self._store.reading() as reader:
                following.sync(reader, reader.state_of(self._owner), wait=True)
            recorded = following.publish()

    def build(self, row: IndexRow, progress: Progress | None) -> None:
        """Build an index, or go on where another process was interrupted; and publish it."""
        following = self._follow(row)
        for _ in range(_TRIES):
            self._store.number(self._owner.id, wait=True)
            with self._store.reading() as reader:
                following.sync(reader, reader.state_of(self._owner), progress, wait=True)
            if following.publish():
                return

    def flush(self) -> None:
        """Bring every index up to date and publish it."""
        self._store.check_writable()
        rows, damaged = ledger.sound_and_damaged(self._store, self._owner.id)
        for one in damaged:
            text = f"index {one.row.name!r} of {self._owner.name!r} is left out: {one.error}"
            warn("indexes", f"{text}; drop it, and add it again", stacklevel=3)
        for row in rows:
            for _ in range(_TRIES):  # another process may have built it anew meanwhile
                self._sync(row)
                if self._follow(row).publish():
                    break

    def publish_if_due(self) -> None:
        """Publish what this process has followed by searching, if that is much; after a write."""
        if os.getpid() == self._pid:
            for following in list(self._following.values()):
                following.publish_if_due()

    def follow(self) -> Iterator[None]:
        """Bring every index up to date, a share a step; nothing is held between two steps."""
        self._store.number(self._owner.id)
        for row in ledger.every(self._store, self._owner.id):
            following, before = self._follow(row), None
            while (place := self._followed(following)) not in (_FOLLOWED, before):
                before = place
                yield
            yield
            following.publish_if_due()
            if place == _FOLLOWED:  # else somebody else is writing: it is tried again later
                self._sync(row)  # what has outgrown its quantizer is built anew
                yield

    def current(self, reader: Reader, state: CollectionState, name: str | None) -> Loaded | None:
        """Return an index caught up, by name or the one in use; None for an exact search."""
        following = self._named_or_active(reader, state, name)
        return None if following is None else following.sync(reader, state)

    def as_it_is(self, reader: Reader, state: CollectionState, name: str | None) -> Loaded | None:
        """Return an index, by name or the one in use, as far as it has come; None: search exactly.

        For a caller's transaction: no other connection is taken, and no index learns anything.
        Raises UnknownIndexError.
        """
        number = state.active
        if name is not None:
            number = reader.index_number(self._owner, name)
        if number is None and name is not None:
            rows = reader.rows(ledger.names_of(self._store.tables, self._owner.id))
            raise ledger.unknown(name, [row[0] for row in rows])
        if number is None:
            return None
        here = os.getpid() == self._pid
        following = self._following.get(number) if here else None
        mark = None if following is None else following.mark
        if following is None or mark is None:
            self._tell_that_it_is_slow(
                state,
                "looked at every item, since this process has not opened the index: call "
                "Database.keep_up(), or search once without connection=",
            )
            return None
        lost, lacks = mark.seq < state.log_floor, state.end - mark.key
        if lost or lacks >= _MANY:
            self._tell_that_it_is_slow(
                state,
                f"looked at {'every item' if lost else f'some {lacks:,} items'} in the store, "
                "since the index is far behind in this process: call Database.keep_up(), unless "
                "this transaction has written them itself",
            )
        return following.as_it_is(reader, state)

    def _tell_that_it_is_slow(self, state: CollectionState, why: str) -> None:
        if self._told or state.end - key_range(self._owner.id)[0] < _MANY:
            return
        self._told = True
        warn("search", f"a search in a transaction of {self._owner.name!r} {why}")

    def outlives(self, loaded: Loaded, error: BaseException) -> bool:
        """Let go of an index that failed in a search; whether it is worth while to ask again."""
        known = list(self._following.values())
        following = next((one for one in known if one.belongs_to(loaded.location)), None)
        # Dropped meanwhile, by this process or another: the next snapshot knows what to ask.
        return following.outlives(loaded, error) if following is not None else bool(loaded.name)

    def numbered(
        self, reader: Reader, state: CollectionState, number: int, *, wait: bool = False
    ) -> Loaded | None:
        """Return an index caught up, by its number in the store; None if it is gone or empty."""
        row = ledger.numbered(self._store, self._owner.id, number)
        return None if row is None else self._follow(row).sync(reader, state, wait=wait)

    def every(
        self, reader: Reader, state: CollectionState, failed: dict[str, RequantError] | None = None
    ) -> dict[str, Loaded | None]:
        """Return all indexes by name, caught up; None for one that has nothing to hold yet.

        What cannot be opened or reached, or is damaged in the store, is raised, or put into
        `failed` by name.
        """
        found: dict[str, Loaded | None] = {}
        rows, damaged = ledger.sound_and_damaged(self._store, self._owner.id)
        for one in damaged:
            if failed is None:
                raise one.error
            failed[one.row.name] = one.error
        for row in rows:
            try:
                found[row.name] = self._follow(row).sync(reader, state, wait=True)
            except (EngineError, EngineMissingError, CorruptIndexError, CorruptDataError) as error:
                if failed is None:
                    raise
                failed[row.name] = error
        return found

    @contextmanager
    def pinned(self, only: Collection[int] | None = None) -> Iterator[None]:
        """Keep every index, or `only` some, from moving on until the end of the block."""
        with ExitStack() as pins:
            rows, _ = ledger.sound_and_damaged(self._store, self._owner.id)
            for row in rows:
                if only is None or row.id in only:
                    pins.enter_context(self._follow(row).pinned())
            yield

    def close(self) -> None:
        """Publish what is in memory, and let go of it."""
        known, self._following = self._following, {}
        if os.getpid() != self._pid:
            return
        with ExitStack() as closing:  # every one of them, whatever one raises
            for following in known.values():
                closing.callback(following.close)

    def let_go(self) -> None:
        """Forget all indexes: the collection is gone."""
        for number in list(self._following):
            self._forget(number)

    def _sync(self, row: IndexRow) -> None:
        self._store.number(self._owner.id, wait=True)
        for _ in range(_TRIES):
            with self._store.reading() as reader:
                state = reader.state_of(self._owner)
                loaded = self._follow(row).sync(reader, state, wait=True)
                if loaded is None or loaded.watermark.covers(state):
                    return

    def _followed(self, following: FollowingIndex) -> tuple[int, ...]:
        """Follow a share, and return how far that has come; nothing once it is all."""
        with self._store.reading() as reader:
            state = reader.state_of(self._owner)
            loaded = following.sync(reader, state)
            if loaded is None or loaded.attached or loaded.watermark.covers(state):
                return _FOLLOWED
            return (*loaded.watermark.rank, *loaded.logged)

    def _named(self, name: str) -> IndexRow:
        return ledger.find(self._store, self._owner.id, name)

    def _named_or_active(
        self, reader: Reader, state: CollectionState, name: str | None
    ) -> FollowingIndex | None:
        number = state.active if name is None else reader.index_number(self._owner, name)
        if os.getpid() == self._pid and number in self._following:
            return self._following[number]
        if name is not None:
            return self._follow(self._named(name))
        if self._following:  # else a search without an index would take a second connection
            for gone in set(self._following) - ledger.numbers(self._store, self._owner.id):
                self._forget(gone)  # dropped by another process
        row = None if number is None else ledger.numbered(self._store, self._owner.id, number)
        return None if row is None else self._follow(row)

    def _forget(self, number: int) -> None:
        following = self._following.pop(number, None)
        if following is not None:
            following.let_go()

    def _follow(self, row: IndexRow) -> FollowingIndex:
        if os.getpid() != self._pid:
            # Engines and locks of the parent process are of no use in this one.
            self._following, self._pid = {}, os.getpid()
        fresh = FollowingIndex(self._workspace, self._owner, row)
        return self._following.setdefault(row.id, fresh)
