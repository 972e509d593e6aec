"""An index that follows the store: loaded from its newest generation, caught up, published.

This file is long because every step is taken under one lock, and its rules are seen best together.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

from requant.errors import (
    CorruptIndexError,
    EngineError,
    StoreError,
    TurnLostError,
    UnsupportedError,
)
from requant.indexes.following.ahead import alters, numbered, takes_in_more
from requant.indexes.following.catch_up import Progress, catch_up
from requant.indexes.following.lost import leads_to
from requant.indexes.following.making import begin
from requant.indexes.following.newest import Newest
from requant.indexes.following.publishing import Publisher, is_due
from requant.indexes.following.refit import (
    has_drifted,
    is_outgrown,
    is_to_be_judged,
    needs_building,
    outgrown_lists,
)
from requant.indexes.following.retired import Retired
from requant.indexes.following.share import follow_some, left_to_later
from requant.indexes.loaded import Loaded
from requant.indexes.location import Location, Workspace, location_of
from requant.indexes.sampling import sample
from requant.metrics import Kind, Operation, logger, warn
from requant.store import (
    BusyError,
    CollectionRow,
    CollectionState,
    IndexRow,
    Reader,
    Watermark,
    key_range,
    ledger,
)

# Catching up on this many rows is worth a new generation, so that it is not done again. Whoever
# writes publishes it in passing; a search does where nobody else has, and half of it is not there.
PUBLISH_ROWS = 10_000
SEARCH_PUBLISH_ROWS = 50_000
# So long a search waits for others who write, where it has something to note in the store itself.
_PATIENCE_MS = 20
# So many numbers behind, and so often at most, an index is followed to beyond what a search sees.
_FAR = 32
_FURTHER_SECONDS = 0.2
# To open an index takes less than to read the whole collection in its place, mostly.
_OPENING_SECONDS = 1.0
_TOO_FAR = (
    "it is attached and too much was written since: searches are exact until you migrate to an "
    "index of your own"
)
_DRIFTED = (
    "its codes were made for other vectors than it has followed since, and lose more of these than "
    "they would have to: rebuild it to fit them anew"
)


class FollowingIndex:
    """Keeps one index of a collection in step with the store, for all threads of a process."""

    def __init__(self, workspace: Workspace, owner: CollectionRow, row: IndexRow) -> None:
        """Follow nothing yet: the index is loaded or built on the first `sync`."""
        self.row = row
        self._workspace = workspace
        self._store = workspace.store
        self._owner = owner
        self._lock = threading.RLock()
        self._loaded: Loaded | None = None
        self._old = Retired()  # live ones whose place is not removed yet
        self._doubted: Loaded | None = None  # may be somebody else's by now, or of another time
        self._told = False
        self._building = False
        self._left = -1  # the number of the state that it was last left behind
        self._further = 0.0  # when it was last followed to beyond what a search saw

    @cached_property
    def _location(self) -> Location:
        return location_of(self._workspace, self._owner, self.row)

    @cached_property
    def _newest(self) -> Newest:
        meters, owner, name = self._store.meters, self._owner.name, self.row.name
        return Newest(
            self._workspace, self.row, self._location, self._warn,
            lambda: meters.of(owner).note(name, "damaged"),
        )  # fmt: skip

    @cached_property
    def _publisher(self) -> Publisher:
        return Publisher(
            self._store, self.row, self._location, self._newest, self._old,
            lambda: self._operation("publish"),
        )  # fmt: skip

    def sync(
        self,
        reader: Reader,
        state: CollectionState,
        progress: Progress | None = None,
        *,
        wait: bool = False,
    ) -> Loaded | None:
        """Return the index as it is at `state`, the snapshot that `reader` sees.

        None while the collection has no vectors: there is nothing to fit a quantizer on. What
        cannot be published is no reason to fail: it is said in an IndexWarning, and tried later.

        Unless that is to be waited for, an index that another thread or process is writing to, or
        that is far behind, is returned as far as it has come: searches do a share of the work, and
        read what it lacks from the store. None also while another thread builds it, which may take
        long, or wait for what this thread holds.
        """
        loaded = self._loaded
        if loaded is not None and self._is_lost(loaded, reader, state):
            self._doubted = loaded
        due = loaded is self._doubted or (wait and self._may_have_to_be_built(loaded, state))
        if loaded is not None and not due and self._is_current(loaded, reader, state):
            return loaded
        follows = loaded is not None and loaded.watermark.seq >= state.log_floor
        follows = follows and loaded is not self._doubted
        patience = 0.0 if follows or self._building else _OPENING_SECONDS
        if not self._lock.acquire(timeout=-1.0 if wait else patience):
            return loaded if follows else None
        self._building = False
        if loaded is not None and loaded is not self._doubted:
            loaded.note(state)
        try:
            if follows and not wait and not due and self._is_left(loaded, reader, state):
                return loaded
            with self._store.patience(None if wait else _PATIENCE_MS):
                return self._brought_up(reader, state, progress, wait)
        except BusyError:
            if wait:
                raise
            return None  # somebody began to write just now: this search is exact
        except TurnLostError as error:
            if wait:
                raise
            self._warn(f"{error}; this search is exact")
            return None
        finally:
            self._lock.release()

    def _may_have_to_be_built(self, loaded: Loaded | None, state: CollectionState) -> bool:
        if loaded is None:
            return False
        return is_outgrown(loaded, self._owner, state) or is_to_be_judged(loaded)

    def _is_left(self, loaded: Loaded | None, reader: Reader, state: CollectionState) -> bool:
        """Whether a search does best to read what the index lacks, and to leave it there.

        Where others write all the time, each search would follow a write or two, which takes as
        long as many. The second search without a write between them follows.
        """
        if loaded is None or loaded.name or self._store.read_only or self._left == state.seq:
            return False
        if not left_to_later(loaded, reader, self._owner, state):
            return False
        self._left = state.seq
        return True

    @property
    def mark(self) -> Watermark | None:
        """How far it has come; None where it has not been opened or built here."""
        loaded = self._loaded
        return None if loaded is None else loaded.watermark

    def as_it_is(self, reader: Reader, state: CollectionState) -> Loaded | None:
        """Return the index as far as it has come, if it serves a transaction that sees `state`.

        Nothing is opened, followed, noted or waited for: what the transaction has written may never
        be committed, and its connection may be the only one that there is.
        """
        loaded = self._loaded
        if loaded is None or loaded is self._doubted:
            return None
        return loaded if loaded.serves(reader, self._owner, state) else None

    def _is_lost(self, loaded: Loaded, reader: Reader, state: CollectionState) -> bool:
        kept = leads_to(state, loaded, self._store, reader, self._owner)
        if kept is False and loaded is not self._doubted:
            self._warn("the database has gone back in time: the index is opened or made again")
        return not kept

    def _brought_up(
        self, reader: Reader, state: CollectionState, progress: Progress | None, wait: bool
    ) -> Loaded | None:
        if self._doubted is not None and self._doubted is self._loaded:
            self._let_go_of(self._doubted)  # it is looked at again
        if self._store.read_only:
            return self._as_published(state)
        with self._location.write_lock(wait) as ours:
            loaded = self._usable(state)
            if self._location.attached and loaded is None:
                self._warn_once(_TOO_FAR)
            if not ours or self._location.attached:
                return loaded
            owner, config = self._owner, self.row.config
            build = loaded is None or needs_building(loaded, reader, owner, state, config, wait)
            if not build:
                loaded = self._caught_up(loaded, reader, state, progress, wait)
                build = self._has_drifted(loaded, reader, state, wait)
            if build or loaded is None:
                keep = self._publisher.keep_part if loaded is None else None
                with self._store.patience(None):  # it takes long anyway, and is not to be in vain
                    loaded = self._build(reader, state, progress, keep=keep)
                    self._publish_if_possible()
                return loaded
            if grown := outgrown_lists(loaded):
                self._warn_once(grown)
            if is_due(loaded, SEARCH_PUBLISH_ROWS, 2):
                self._publish_if_possible()
            return loaded

    def _has_drifted(
        self, loaded: Loaded | None, reader: Reader, state: CollectionState, wait: bool
    ) -> bool:
        """Tell whether to fit it anew because of what it has followed; a graph is its owner's."""
        config = self.row.config
        if loaded is None or not has_drifted(loaded, reader, self._owner, state, config, wait):
            return False
        if config.index_type != "flat":
            self._warn_once(_DRIFTED)
        return config.index_type == "flat"

    def _caught_up(
        self,
        loaded: Loaded | None,
        reader: Reader,
        state: CollectionState,
        progress: Progress | None,
        wait: bool,
    ) -> Loaded | None:
        """Return the index once it has followed, or a share of it; None to have it built again."""
        while loaded is not None and not loaded.watermark.covers(state):
            if loaded.watermark.seq > state.seq:
                return loaded  # it follows a later snapshot: what this one has may be out of date
            reaching = self._reached(loaded, reader, state, wait)
            if reaching is None:
                return loaded
            try:
                with self._operation("catch_up") as operation:
                    if wait:
                        keep = self._publisher.keep_part
                        rows = catch_up(
                            loaded, reader, self._owner, state, progress, keep, reaching
                        )
                    else:
                        rows = self._bring_nearer(loaded, reader, state, reaching)
                    operation.count("rows_followed", rows)
                loaded.followed += rows
                took = operation.seconds
                logger("indexes").debug("%s: %d rows followed, %.3f s", self._called, rows, took)
                if not wait:
                    return loaded
            except BaseException as error:
                # Half of a write may be in the engine: it is opened or built again.
                if not self.outlives(loaded, error):
                    raise
                loaded = self._usable(state)
        return loaded

    def _reached(
        self, loaded: Loaded, reader: Reader, state: CollectionState, wait: bool
    ) -> int | None:
        """Return the number of what following takes in beyond `state`, 0 for nothing.

        None where it is put off: whoever has searched would have to ask again. So it is as long as
        little is lacking; and done now and then where something is changed all the time, which
        would else keep an index from following for ever.
        """
        if not takes_in_more(loaded, reader, self._owner, state):
            return 0
        if wait:
            return numbered(self._store, self._owner)
        now = time.monotonic()
        if state.seq - loaded.watermark.seq < _FAR or now < self._further + _FURTHER_SECONDS:
            return None
        self._further = now
        return self._store.number(self._owner.id)

    def _bring_nearer(
        self, loaded: Loaded, reader: Reader, state: CollectionState, reaching: int
    ) -> int:
        """Follow a share, unless somebody writes just now; what is lacking is read from the store.

        What has been written to a live place, and could not be noted, is noted the next time.
        """
        with contextlib.suppress(BusyError):
            return follow_some(loaded, reader, self._owner, state, reaching)
        return 0

    def outlives(self, loaded: Loaded, error: BaseException) -> bool:
        """Let go of an index that has failed; tell whether it is worth while to ask again.

        What is in a folder of our own is opened once more, and if that was in vain made again; so
        is what turns out not to be ours. A server that fails may be reached later.
        """
        if not self._lock.acquire(blocking=False):
            return isinstance(error, CorruptIndexError | EngineError)  # somebody sees to it already
        try:
            engines_own = isinstance(error, CorruptIndexError | EngineError)
            if self._loaded is not loaded:
                return engines_own
            if loaded.name or not engines_own:
                self._let_go_of(loaded)
            if not loaded.name or not engines_own:
                return False
            if not self._location.own and not isinstance(error, CorruptIndexError):
                return False
            self._newest.fails(loaded.name, error)
            return True
        finally:
            self._lock.release()

    def belongs_to(self, location: Location) -> bool:
        """Whether this is the index that is kept at `location`."""
        return self._location is location

    def _as_published(self, state: CollectionState) -> Loaded | None:
        """Return the index as far as others have brought it; None, an exact search, else."""
        loaded, reason = None, "its engine cannot open it by reading alone"
        try:
            if self._location.readable:
                loaded = self._usable(state)
                reason = self._newest.complaint or "nothing recent enough has been published"
        except (CorruptIndexError, EngineError) as error:
            reason = str(error)
        some = state.end - key_range(self._owner.id)[0] > 1
        if some and (loaded is None or self._newest.complaint is not None):
            how = "are exact" if loaded is None else "ask an older generation"
            self._warn_once(f"searches {how}: {reason}")
        return loaded

    def rebuild(
        self,
        reader: Reader,
        state: CollectionState,
        progress: Progress | None = None,
        *,
        overwrite: bool = False,
    ) -> bool:
        """Fit the quantizer anew, encode every vector again, and publish.

        `overwrite` lets a live engine replace what stands under the name that was asked for.
        Returns False if that was refused: catch up, and publish again.
        """
        if self._location.attached:
            raise UnsupportedError(
                f"index {self.row.name!r} is attached, never written to: migrate to one of your own"
            )
        with self._lock, self._location.write_lock(wait=True):
            loaded = self._build(reader, state, progress, overwrite=overwrite)
            self._told = False  # its lists may come to be too few once more
            recorded = self.publish()
            if loaded is not None and not recorded:
                loaded.unpublished = 1  # else nothing would tell that it is still to be done
            return recorded

    def let_go(self) -> None:
        """Forget the index without closing it: a search may still be inside.

        Whoever is publishing it finishes first, so that its files can be removed afterwards. Live
        engines are closed, since nothing may be open where something is removed.
        """
        with self._lock:
            self._old.close(keep=set())
            if self._loaded is not None:
                self._let_go_of(self._loaded)

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Keep the index from moving on until the end of the block, by whomever."""
        with self._lock:
            if self._store.read_only:
                yield
                return
            with self._location.write_lock(wait=True):
                yield

    def publish(self, *, wait: bool = True) -> bool:
        """Record what the index holds as a new generation, unless that has been done.

        Returns False if it was refused: another process has published one that followed further,
        or, unless that is to be waited for, is writing just now.

        Raises:
            StoreError, EngineError: it cannot be written; what was published before is untouched.
        """
        with self._lock:
            loaded = self._loaded
            if loaded is None or self._store.read_only:
                return True
            with self._location.write_lock(wait) as ours:
                if ours and self._is_replaced(loaded):
                    self._replace(None)
                    return False
                if not loaded.unpublished:
                    if ours and loaded.name:
                        self._publisher.leave_old_places(loaded)
                    return True
                try:
                    return ours and self._publisher.publish(loaded)
                except CorruptIndexError as error:
                    self.outlives(loaded, error)  # it is opened or made again when it is next used
                    raise

    def _is_replaced(self, loaded: Loaded) -> bool:
        """Whether another process has built it anew in a place of its own, or it is gone."""
        if not loaded.name or not loaded.recorded or loaded.attached:
            return False
        head = self._location.head(None)
        return head is None or head.name != loaded.name

    def close(self) -> None:
        """Publish what is to be published, if that is possible, and let go of the memory."""
        with self._lock:
            self._publish_or_warn()
            self._old.close(keep=set())
            if self._loaded is not None:
                self._loaded.backend.close()
            self._loaded = None

    def publish_if_due(self) -> None:
        """Publish if that would spare others much, and nobody is writing."""
        loaded = self._loaded
        if loaded is None or not is_due(loaded, PUBLISH_ROWS, 10):
            return
        if self._lock.acquire(blocking=False):
            try:
                with self._store.patience(_PATIENCE_MS):
                    self._publish_if_possible()
            finally:
                self._lock.release()

    def _publish_if_possible(self) -> None:
        # A search waits for no writer: the next one to catch up tries again.
        if self._store.is_free(self._owner.id):
            self._publish_or_warn(passing=True)

    def _publish_or_warn(self, *, passing: bool = False) -> None:
        try:
            self.publish(wait=False)
        except (StoreError, EngineError, CorruptIndexError) as error:
            if self._loaded is not None:
                self._loaded.postponed = self._loaded.unpublished
            if passing and isinstance(error, BusyError):
                return
            self._warn(f"{error}; it is not on disk until a later publication succeeds")

    def _let_go_of(self, loaded: Loaded) -> None:
        self._loaded = None
        if loaded.name or loaded.attached:  # whoever owns it may want to move it
            loaded.backend.close()

    def _replace(self, loaded: Loaded | None) -> None:
        if self._loaded is not None and self._loaded.name:
            self._old.add(self._loaded)  # a search may still be inside
        self._loaded = loaded

    def _is_current(self, loaded: Loaded, reader: Reader, state: CollectionState) -> bool:
        if loaded.name:
            head = self._location.head(reader)
            if head is not None and head.name != loaded.name:
                return False  # another process has built it anew
            if head is None and loaded.recorded:
                return False  # it was given up, or the snapshot is older than it
            if not self._location.holds(loaded.name, loaded.backend):
                self._doubted = loaded
                return False
            if head is not None and head.mark.rank > loaded.watermark.rank:
                if not self._lock.acquire(blocking=False):
                    return False
                try:
                    loaded.heed(head)
                finally:
                    self._lock.release()
        return loaded.watermark.covers(state)

    def _warn(self, text: str) -> None:
        warn("indexes", f"{self._called}: {text}")

    @property
    def _called(self) -> str:
        return f"index {self.row.name!r} of {self._owner.name!r}"

    def _operation(self, kind: Kind) -> Operation:
        return self._store.meters.of(self._owner.name).operation(kind, index=self.row.name)

    def _warn_once(self, text: str) -> None:
        if not self._told:
            self._told = True
            self._warn(text)

    def _usable(self, state: CollectionState) -> Loaded | None:
        """Return the index in memory or on disk, unless the log it would need is pruned."""
        head = self._location.head(None)
        if head is not None and self._loaded is not None:
            if self._loaded.name == head.name:
                self._loaded.heed(head)
            else:
                self._replace(None)
        elif self._loaded is not None and self._loaded.name and self._loaded.recorded:
            self._replace(None)  # given up: two have written to it at once, or the index is gone
        loaded = self._loaded
        if loaded is None or loaded.watermark.seq < state.log_floor:
            self._replace(None)
            self._loaded = loaded = self._newest.open(state.log_floor, head)
            if loaded is not None:
                loaded.note(state)
        return loaded

    def _build(
        self,
        reader: Reader,
        state: CollectionState,
        progress: Progress | None,
        *,
        overwrite: bool = False,
        keep: Callable[[Loaded], None] | None = None,
    ) -> Loaded | None:
        self._building = True  # until whoever has the lock next
        first, _ = key_range(self._owner.id)
        reaching = numbered(self._store, self._owner) if alters(state, first) else 0
        rows = sample(reader, self._owner, state)
        if len(rows) < 2:  # one has no spread to learn, and is found without an index
            return None
        with self._operation("build") as operation:
            loaded = begin(
                self._workspace, self._owner, self.row, self._location, reader, state, rows,
                overwrite, self._warn,
            )  # fmt: skip
            begun = operation.took("fit", operation.begun)
            try:
                catch_up(loaded, reader, self._owner, state, progress, keep, reaching)
            except BaseException:
                self._abandon(loaded)
                raise
            loaded.built = loaded.items
            loaded.seconds_a_row = (operation.took("fill", begun) - begun) / max(loaded.built, 1)
            self._replace(loaded)
            operation.count("items_built", loaded.built)
        took = operation.seconds
        logger("indexes").info("%s: built, %d items, %.2f s", self._called, loaded.built, took)
        return loaded

    def _abandon(self, loaded: Loaded) -> None:
        if loaded.name:
            loaded.backend.close()
            kept = ledger.files(self._store, self.row.id)
            if not kept:
                return  # whoever adds the index removes everything
            used = {self._loaded.name} if self._loaded is not None else set()
            self._location.clear({loaded.name}, kept | used | self._old.names())
