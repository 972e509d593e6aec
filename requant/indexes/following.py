"""An index that follows the store: loaded from its newest generation, caught up, published."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

from requant.errors import (
    CorruptDataError,
    CorruptIndexError,
    EngineError,
    IndexWarning,
    StoreError,
    UnsupportedError,
)
from requant.indexes.catch_up import Progress, catch_up, outgrown
from requant.indexes.loaded import Loaded
from requant.indexes.location import Location, Workspace, location_of
from requant.indexes.sampling import sample
from requant.indexes.spec import fit_quantizer, index_spec, norms_matter, planned_spec
from requant.quantizers import factory
from requant.store import (
    CollectionRow,
    CollectionState,
    Generation,
    Head,
    IndexRow,
    Reader,
    Watermark,
    key_range,
    ledger,
)

# Catching up on this many rows is worth a new generation, so that it is not done again.
PUBLISH_ROWS = 10_000
# So much of a long build, and half as much again as is published, is worth not being done twice.
PART_ROWS = 50_000


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
        self._old: list[Loaded] = []  # live ones whose place is not removed yet
        self._damaged: set[str] = set()
        self._told = False

    @cached_property
    def _location(self) -> Location:
        return location_of(self._workspace, self._owner, self.row)

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

        An index that another thread or process is writing to is returned as far as it has come,
        unless that is to be waited for: searches read what it lacks from the store.
        """
        loaded = self._loaded
        if loaded is not None and self._is_current(loaded, reader, state):
            return loaded
        follows = loaded is not None and loaded.watermark.seq >= state.log_floor
        if not self._lock.acquire(blocking=wait or not follows):
            return loaded
        try:
            return self._brought_up(reader, state, progress, wait)
        finally:
            self._lock.release()

    def _brought_up(
        self, reader: Reader, state: CollectionState, progress: Progress | None, wait: bool
    ) -> Loaded | None:
        if self._store.read_only:
            return self._as_published(state)
        with self._location.write_lock(wait) as ours:
            loaded = self._usable(state)
            if self._location.attached and loaded is None:
                self._tell_of_distance()
            if not ours or self._location.attached:
                return loaded
            if loaded is None or outgrown(loaded, state):
                keep = self._keep_part if loaded is None else None
                loaded = self._build(reader, state, progress, keep=keep)
                self._publish_if_possible()
                return loaded
            if not loaded.watermark.covers(state):
                try:
                    catch_up(loaded, reader, self._owner, state, progress, self._keep_part)
                except BaseException:
                    # Half of a write may be in the engine: it is opened or built again.
                    self._let_go_of(loaded)
                    raise
            fresh = loaded.unpublished - loaded.postponed
            if fresh > max(PUBLISH_ROWS, loaded.size // 10):
                self._publish_if_possible()
            return loaded

    def _as_published(self, state: CollectionState) -> Loaded | None:
        """Return the index as far as others have brought it; None, an exact search, else."""
        loaded, reason = None, "its engine cannot open it by reading alone"
        try:
            if self._location.readable:
                loaded, reason = self._usable(state), "nothing recent enough has been published"
        except (CorruptIndexError, EngineError) as error:
            reason = str(error)
        some = state.next_key - key_range(self._owner.id)[0] > 1
        if loaded is None and some and not self._told:
            self._told = True
            self._warn(f"searches are exact: {reason}")
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
                f"index {self.row.name!r} is attached and never written to: migrate to one of your "
                "own"
            )
        with self._lock, self._location.write_lock(wait=True):
            loaded = self._build(reader, state, progress, overwrite=overwrite)
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
            self._close_old(keep=set())
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
                if not loaded.unpublished:
                    if ours and loaded.name:
                        self._leave_old_places(loaded)
                    return True
                return ours and self._publish(loaded)

    def close(self) -> None:
        """Publish what is to be published, if that is possible, and let go of the memory."""
        with self._lock:
            self._publish_or_warn()
            self._close_old(keep=set())
            if self._loaded is not None:
                self._loaded.backend.close()
            self._loaded = None

    def _publish(self, loaded: Loaded) -> bool:
        try:
            name, digest = self._location.write(loaded.name, loaded.backend)
        except OSError as error:
            raise StoreError(f"cannot write index {self.row.name!r}: {error}") from error
        spec = loaded.backend.spec
        generation = Generation(
            fingerprint=factory.fingerprint(loaded.quantizer),
            fit_rows=loaded.fit_rows,
            spec={"metric": spec.metric, "expected": spec.expected},
            watermark=loaded.watermark,
            items=loaded.size,
            file=name,
            digest=digest,
        )
        body = factory.to_bytes(loaded.quantizer)
        useless = ledger.record(self._store, self.row, generation, body, self._damaged)
        self._damaged = set()
        loaded.unpublished = loaded.postponed = 0
        keep = ledger.files(self._store, self.row.id)
        recorded = name in keep
        # A place that was not recorded for being behind is in use all the same.
        keep |= {loaded.name} if loaded.name else set()
        self._close_old(keep)
        self._location.clear(useless, keep)
        return recorded

    def _leave_old_places(self, loaded: Loaded) -> None:
        """Remove the places of earlier builds, which searches of others had to get out of."""
        if ledger.files(self._store, self.row.id) - {loaded.name}:
            ledger.keep_only(self._store, self.row, loaded.name)
            self._close_old({loaded.name})
            self._location.clear(set(), {loaded.name})

    def _publish_if_possible(self) -> None:
        # A search waits for no writer: the next one to catch up tries again.
        if self._store.is_free(self._owner.id):
            self._publish_or_warn()

    def _publish_or_warn(self) -> None:
        try:
            self.publish(wait=False)
        except (StoreError, EngineError) as error:
            if self._loaded is not None:
                self._loaded.postponed = self._loaded.unpublished
            self._warn(f"{error}; it is not on disk until a later publication succeeds")

    def _keep_part(self, loaded: Loaded) -> None:
        """Publish a part of a long build, so that whoever is killed goes on from there."""
        if loaded.unpublished > PART_ROWS:
            loaded.items = len(loaded.backend)
            if loaded.unpublished > loaded.items // 2:
                self._publish(loaded)

    def _let_go_of(self, loaded: Loaded) -> None:
        self._loaded = None
        if loaded.name or loaded.attached:  # whoever owns it may want to move it
            loaded.backend.close()

    def _close_old(self, keep: set[str]) -> None:
        for old in [old for old in self._old if old.name not in keep]:
            old.backend.close()
            self._old.remove(old)

    def _replace(self, loaded: Loaded | None) -> None:
        if self._loaded is not None and self._loaded.name:
            self._old.append(self._loaded)  # a search may still be inside
        self._loaded = loaded

    def _is_current(self, loaded: Loaded, reader: Reader, state: CollectionState) -> bool:
        if loaded.name:
            head = self._location.head(reader)
            if head is not None and head.name != loaded.name:
                return False  # another process has built it anew
            if head is not None and head.mark.rank > loaded.watermark.rank:
                if not self._lock.acquire(blocking=False):
                    return False
                try:
                    loaded.heed(head)
                finally:
                    self._lock.release()
        return loaded.watermark.covers(state)

    def _warn(self, text: str) -> None:
        name = f"index {self.row.name!r} of {self._owner.name!r}"
        warnings.warn(f"{name}: {text}", IndexWarning, stacklevel=2)

    def _usable(self, state: CollectionState) -> Loaded | None:
        """Return the index in memory or on disk, unless the log it would need is pruned."""
        head = self._location.head(None)
        if head is not None and self._loaded is not None:
            if self._loaded.name == head.name:
                self._loaded.heed(head)
            else:
                self._replace(None)
        loaded = self._loaded
        if loaded is None or loaded.watermark.seq < state.log_floor:
            self._replace(None)
            self._loaded = loaded = self._open_newest(state.log_floor, head)
        return loaded

    def _open_newest(self, log_floor: int, head: Head | None) -> Loaded | None:
        tried: set[str] = set()
        while True:
            # Another process may publish, and remove what we were told of, while we open it.
            fresh = [
                (generation, body)
                for generation, body in ledger.generations(self._store, self.row.id)
                if generation.watermark.seq >= log_floor
                and generation.file not in tried | self._damaged
            ]
            if self._location.live:  # what stood in an older place is not looked after any more
                fresh = [one for one in fresh if head is not None and one[0].file == head.name]
            if not fresh:
                return None
            generation, body = fresh[0]
            tried.add(generation.file)
            try:
                loaded = self._open(generation, body, head)
            except (CorruptIndexError, CorruptDataError) as error:
                if self._location.attached:
                    raise  # nobody here could make it again
                if generation.file in ledger.files(self._store, self.row.id):
                    self._damaged.add(generation.file)
                    cure = "it is made again from an older generation or from the stored vectors"
                    self._warn(f"{error}" if self._store.read_only else f"{error}; {cure}")
                continue
            loaded.unpublished = len(self._damaged)  # what is damaged is to be replaced
            return loaded

    def _open(self, generation: Generation, body: bytes, head: Head | None) -> Loaded:
        config = self.row.config
        quantizer = factory.from_bytes(body)
        if factory.fingerprint(quantizer) != generation.fingerprint:
            raise CorruptIndexError("its quantizer is not the one that made its codes")
        spec = index_spec(config, self._workspace.secrets, quantizer, **generation.spec)
        backend = self._location.open(generation, spec)
        mark, rows = generation.watermark, generation.fit_rows
        loaded = Loaded(quantizer, backend, rows, mark, self._location, reaching=mark.seq)
        if head is not None:
            loaded.name, loaded.heard, loaded.items = head.name, head.mark.rank, head.items
            loaded.reaching = max(mark.seq, head.reaching)
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
        rows = sample(reader, self._owner, state)
        if len(rows) < 2:  # one vector has no spread to learn, and is found without an index
            return None
        if objection := norms_matter(self._owner, self.row.config, rows):
            self._warn(objection)
        config, secrets = self.row.config, self._workspace.secrets
        quantizer = fit_quantizer(config, rows)
        first, _ = key_range(self._owner.id)
        metric, expected = self._owner.metric, state.next_key - first
        spec = planned_spec(config, secrets, metric, quantizer, expected)
        mark = Watermark(first, state.seq)
        name, backend = self._location.create(spec, quantizer.encode(rows), mark, overwrite)
        loaded = Loaded(quantizer, backend, len(rows), mark, self._location, name, state.seq)
        try:
            catch_up(loaded, reader, self._owner, state, progress, keep)
        except BaseException:
            self._abandon(loaded)
            raise
        self._replace(loaded)
        return loaded

    def _abandon(self, loaded: Loaded) -> None:
        if loaded.name:
            loaded.backend.close()
            kept = ledger.files(self._store, self.row.id)
            if not kept:
                return  # whoever adds the index removes everything
            used = [*self._old, self._loaded] if self._loaded is not None else self._old
            self._location.clear({loaded.name}, kept | {one.name for one in used})

    def _tell_of_distance(self) -> None:
        if not self._told:
            self._told = True
            self._warn(
                "it is attached and too much was written since: searches are exact until you "
                "migrate to an index of your own"
            )
