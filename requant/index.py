"""An index that follows the store: loaded from its newest generation, caught up, published."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from requant.adapters import registry
from requant.adapters.files import check_digest, publish
from requant.adapters.guards import check_supported
from requant.adapters.protocol import Backend, IndexSpec, Keys, Support
from requant.errors import (
    CorruptDataError,
    CorruptIndexError,
    EngineError,
    IndexWarning,
    StoreError,
)
from requant.planning import choose_metric
from requant.quantizers import factory
from requant.quantizers.arrays import Float32s
from requant.quantizers.codes import CodeMetric
from requant.quantizers.protocol import Quantizer, Refining
from requant.rescore import normalise
from requant.store import ledger
from requant.store.engine import Store
from requant.store.ledger import Generation, IndexConfig, IndexRow, Watermark
from requant.store.reader import CollectionState, Reader
from requant.store.schema import CollectionRow, key_range

Progress = Callable[[int, int], None]

# Thresholds and scales settle with a thousand rows, if these are like those to come: a quantizer
# fitted on fewer than SAMPLE_ROWS is fitted again when there are four times as many.
SAMPLE_ROWS = 10_000
ENOUGH_ROWS = 1_000
# How unequal norms may be before codes that forget them are worth a warning (deviation / mean).
_UNEQUAL = 0.3
# Catching up on this many rows is worth a new generation, so that it is not done again.
PUBLISH_ROWS = 10_000
_BATCH = 8192
_ORPHAN_SECONDS = 3600.0


@dataclass
class Loaded:
    """An index in use: a quantizer, the backend that holds its codes, and how far it has come."""

    quantizer: Quantizer
    backend: Backend
    fit_rows: int
    watermark: Watermark
    reaching: int = 0  # the seq that it is being caught up with; its watermark once it is
    unpublished: int = 0
    postponed: int = 0  # what was unpublished when publishing last failed

    @property
    def support(self) -> Support:
        """What the engine declares for this kind of index."""
        spec = self.backend.spec
        row = self.backend.capabilities.find(spec.code.format, spec.index_type)
        assert row is not None
        return row

    @cached_property
    def takes_key_sets(self) -> bool:
        """Whether the engine can search among given keys."""
        return self.support.key_sets

    @cached_property
    def refines(self) -> bool:
        """Whether candidates come with their codes, and the quantizer makes something of them."""
        return self.support.codes and isinstance(self.quantizer, Refining)


class FollowingIndex:
    """Keeps one index of a collection in step with the store, for all threads of a process."""

    def __init__(self, store: Store, folder: Path, owner: CollectionRow, row: IndexRow) -> None:
        """Follow nothing yet: the index is loaded or built on the first `sync`."""
        self.row = row
        self._store = store
        self._folder = folder / str(row.id)
        self._owner = owner
        self._lock = threading.RLock()
        self._loaded: Loaded | None = None
        self._damaged: set[str] = set()

    def sync(
        self, reader: Reader, state: CollectionState, progress: Progress | None = None
    ) -> Loaded | None:
        """Return the index as it is at `state`, the snapshot that `reader` sees.

        None while the collection has no vectors: there is nothing to fit a quantizer on. What
        cannot be published is no reason to fail: it is said in an IndexWarning, and tried later.
        """
        loaded = self._loaded
        if loaded is not None and loaded.watermark.seq >= state.seq:
            return loaded
        with self._lock:
            loaded = self._usable(state)
            if loaded is None or self._outgrown(loaded, state):
                loaded = self._build(reader, state, progress)
                self._publish_if_possible()
                return loaded
            if loaded.watermark.seq < state.seq:
                try:
                    self._catch_up(loaded, reader, state, progress)
                except BaseException:
                    # Half of a write may be in the engine: it is opened or built again.
                    self._loaded = None
                    raise
            fresh = loaded.unpublished - loaded.postponed
            if fresh > max(PUBLISH_ROWS, len(loaded.backend) // 10):
                self._publish_if_possible()
            return loaded

    def rebuild(
        self, reader: Reader, state: CollectionState, progress: Progress | None = None
    ) -> bool:
        """Fit the quantizer anew, encode every vector again, and publish.

        Returns False if that was refused: catch up, and publish again.
        """
        with self._lock:
            loaded = self._build(reader, state, progress)
            recorded = self.publish()
            if loaded is not None and not recorded:
                loaded.unpublished = 1  # else nothing would tell that it is still to be done
            return recorded

    def let_go(self) -> None:
        """Forget the index without closing it: a search may still be inside.

        Whoever is publishing it finishes first, so that its files can be removed afterwards.
        """
        with self._lock:
            self._loaded = None

    def pinned(self) -> AbstractContextManager[object]:
        """Keep the index from moving on until the end of the block, for other threads as well."""
        return self._lock

    def publish(self) -> bool:
        """Write what the index holds as a new generation, unless that has been done.

        Returns False if it was refused: another process has published one that followed further.

        Raises:
            StoreError, EngineError: it cannot be written; what was published before is untouched.
        """
        with self._lock:
            loaded = self._loaded
            if loaded is None or not loaded.unpublished:
                return True
            name = f"{uuid.uuid4().hex}.{self.row.config.engine}"
            try:
                digest = publish(self._folder / name, loaded.backend.flush)
            except OSError as error:
                raise StoreError(f"cannot write index {self.row.name!r}: {error}") from error
            generation = Generation(
                fingerprint=factory.fingerprint(loaded.quantizer),
                fit_rows=loaded.fit_rows,
                spec={
                    "metric": loaded.backend.spec.metric,
                    "expected": loaded.backend.spec.expected,
                },
                watermark=loaded.watermark,
                items=len(loaded.backend),
                file=name,
                digest=digest,
            )
            body = factory.to_bytes(loaded.quantizer)
            useless = ledger.record(self._store, self.row, generation, body, self._damaged)
            self._damaged = set()
            loaded.unpublished = loaded.postponed = 0
            _remove(self._folder, useless, keep=ledger.files(self._store, self.row.id))
            return name not in useless

    def close(self) -> None:
        """Publish what is to be published, if that is possible, and let go of the memory."""
        with self._lock:
            self._publish_or_warn()
            if self._loaded is not None:
                self._loaded.backend.close()
            self._loaded = None

    def _publish_if_possible(self) -> None:
        # A search waits for no writer: the next one to catch up tries again.
        if self._store.is_free(self._owner.id):
            self._publish_or_warn()

    def _publish_or_warn(self) -> None:
        try:
            self.publish()
        except (StoreError, EngineError) as error:
            if self._loaded is not None:
                self._loaded.postponed = self._loaded.unpublished
            self._warn(f"{error}; it is in memory only, until a later publication succeeds")

    def _warn(self, text: str) -> None:
        name = f"index {self.row.name!r} of {self._owner.name!r}"
        warnings.warn(f"{name}: {text}", IndexWarning, stacklevel=2)

    def _usable(self, state: CollectionState) -> Loaded | None:
        """Return the index in memory or on disk, unless the log it would need is pruned."""
        loaded = self._loaded
        if loaded is None or loaded.watermark.seq < state.log_floor:
            self._loaded = loaded = self._open_newest(state.log_floor)
        return loaded

    def _open_newest(self, log_floor: int) -> Loaded | None:
        tried: set[str] = set()
        while True:
            # Another process may publish, and remove what we were told of, while we open it.
            fresh = [
                (generation, body)
                for generation, body in ledger.generations(self._store, self.row.id)
                if generation.watermark.seq >= log_floor and generation.file not in tried
            ]
            if not fresh:
                return None
            generation, body = fresh[0]
            tried.add(generation.file)
            try:
                loaded = self._open(generation, body)
            except (CorruptIndexError, CorruptDataError, OSError) as error:
                if generation.file in ledger.files(self._store, self.row.id):
                    self._damaged.add(generation.file)
                    self._warn(
                        f"{error}; it is made again from an older generation or from the stored "
                        "vectors"
                    )
                continue
            loaded.unpublished = len(self._damaged)  # what is damaged is to be replaced
            return loaded

    def _open(self, generation: Generation, body: bytes) -> Loaded:
        config = self.row.config
        quantizer = factory.from_bytes(body)
        if factory.fingerprint(quantizer) != generation.fingerprint:
            raise CorruptIndexError("its quantizer is not the one that made its codes")
        path = self._folder / generation.file
        check_digest(path, generation.digest)
        spec = index_spec(config, quantizer, **generation.spec)
        backend = registry.load(config.engine).open(spec, str(path), mmap=config.mmap)
        if len(backend) != generation.items:
            raise CorruptIndexError(
                f"{path} holds {len(backend)} items, {generation.items} were written"
            )
        mark = generation.watermark
        return Loaded(quantizer, backend, generation.fit_rows, mark, mark.seq)

    def _build(
        self, reader: Reader, state: CollectionState, progress: Progress | None
    ) -> Loaded | None:
        sample = self._sample(reader, state)
        if len(sample) < 2:  # one vector has no spread to learn, and is found without an index
            return None
        self._tell_of_norms(sample)
        quantizer = fit_quantizer(self.row.config, sample)
        first, _ = key_range(self._owner.id)
        expected = state.next_key - first
        backend = new_backend(self.row.config, self._owner, quantizer, expected, sample)
        loaded = Loaded(quantizer, backend, len(sample), Watermark(first, state.seq), state.seq)
        self._catch_up(loaded, reader, state, progress)
        self._loaded = loaded
        return loaded

    def _catch_up(
        self, loaded: Loaded, reader: Reader, state: CollectionState, progress: Progress | None
    ) -> None:
        """Apply what was written since; safe to repeat if it is interrupted."""
        mark, dim = loaded.watermark, self._owner.dim
        loaded.reaching = state.seq
        changed = reader.changed(self._owner.id, mark.seq, mark.key)
        total = len(changed) + max(state.next_key - mark.key, 0)
        done = 0
        for start in range(0, len(changed), _BATCH):
            keys = changed[start : start + _BATCH]
            found, vectors = reader.vectors(keys, dim)
            loaded.backend.delete(np.setdiff1d(keys, found, assume_unique=True))
            done += self._put(loaded, found, vectors)
            _report(progress, done, total)
        for keys, vectors in reader.scan(mark.key, state.next_key, dim):
            done += self._put(loaded, keys, vectors)
            _report(progress, done, total)
        loaded.unpublished += max(done, len(changed))
        loaded.watermark = Watermark(max(mark.key, state.next_key), max(mark.seq, state.seq))

    def _put(self, loaded: Loaded, keys: Keys, vectors: Float32s) -> int:
        if len(keys):
            loaded.backend.upsert(keys, loaded.quantizer.encode(self._prepared(vectors)))
        return len(keys)

    def _tell_of_norms(self, sample: Float32s) -> None:
        if self._owner.metric == "cosine" or self.row.config.precision != "binary":
            return
        norms = np.linalg.norm(sample.astype(np.float64), axis=1)
        if norms.std() > _UNEQUAL * norms.mean():
            self._warn(
                f"the vectors have unequal norms, which binary codes forget and metric "
                f"{self._owner.metric!r} needs: the first pass will miss results; use precision "
                "'int8' or 'float32', or a much larger oversample"
            )

    def _prepared(self, vectors: Float32s) -> Float32s:
        return normalise(vectors) if self._owner.metric == "cosine" else vectors

    def _outgrown(self, loaded: Loaded, state: CollectionState) -> bool:
        size = len(loaded.backend) + max(state.next_key - loaded.watermark.key, 0)
        return loaded.fit_rows < SAMPLE_ROWS and size >= 4 * loaded.fit_rows

    def _sample(self, reader: Reader, state: CollectionState) -> Float32s:
        first, _ = key_range(self._owner.id)
        span, dim = state.next_key - first, self._owner.dim
        if span > SAMPLE_ROWS:
            keys = np.linspace(first, state.next_key - 1, SAMPLE_ROWS).astype(np.int64)
            _, vectors = reader.vectors(keys, dim)
            if len(vectors) >= ENOUGH_ROWS:
                return self._prepared(vectors)
        # Few rows, or few of many left: take what there is from the start.
        for _, vectors in reader.scan(first, state.next_key, dim, batch=SAMPLE_ROWS):
            return self._prepared(vectors)
        return np.empty((0, dim), np.float32)


def index_spec(
    config: IndexConfig, quantizer: Quantizer, metric: CodeMetric, expected: int
) -> IndexSpec:
    """Return what a backend is told of an index."""
    index_type: Any = config.index_type
    return IndexSpec(quantizer.spec, metric, index_type, config.params, expected)


def fit_quantizer(config: IndexConfig, sample: Float32s) -> Quantizer:
    """Fit the quantizer that `config` asks for on `sample (n, d) float32`."""
    precision: Any = config.precision
    return factory.fit(precision, sample, **config.options)


def check_config(config: IndexConfig, owner: CollectionRow) -> None:
    """Try an index of `config` on two made-up vectors, so that what cannot be is never recorded.

    Raises EngineMissingError, UnknownEngineError, UnsupportedError or InputError.
    """
    sample = np.eye(2, owner.dim, dtype=np.float32)
    new_backend(config, owner, fit_quantizer(config, sample), 2, sample).close()


def new_backend(
    config: IndexConfig,
    owner: CollectionRow,
    quantizer: Quantizer,
    expected: int,
    sample: Float32s,
) -> Backend:
    """Create an empty backend for `quantizer`; raises UnsupportedError, naming alternatives."""
    backend = registry.load(config.engine)
    index_type: Any = config.index_type
    support = backend.capabilities.find(quantizer.spec.format, index_type)
    metric = (
        choose_metric(owner.metric, quantizer, support, config.engine)
        if support
        else quantizer.metrics[0]  # check_supported refuses below, and lists alternatives
    )
    spec = index_spec(config, quantizer, metric, expected)
    check_supported(backend.capabilities, spec)
    return backend.create(spec, sample=quantizer.encode(sample))


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, max(done, total))


def _remove(folder: Path, useless: set[str], keep: set[str]) -> None:
    """Delete files that no row names; a stranger's only when it cannot be in the making."""
    long_ago = time.time() - _ORPHAN_SECONDS
    for path in folder.glob("*"):  # nothing, if the folder itself has gone
        with contextlib.suppress(FileNotFoundError):
            if path.name not in keep and (path.name in useless or path.stat().st_mtime < long_ago):
                path.unlink()
    if not keep:
        with contextlib.suppress(OSError):
            folder.rmdir()
