"""An index that another program made, as a first pass: it is asked, and never written to."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from requant.adapters import registry
from requant.adapters.files import Digest
from requant.adapters.protocol import (
    Attached,
    Attaching,
    Candidates,
    Capabilities,
    IndexSpec,
    Keys,
    Support,
)
from requant.errors import CorruptIndexError, IndexWarning, InputError, UnsupportedError
from requant.feeding import Progress, prepared
from requant.homes import FileHome, Premises
from requant.loaded import Loaded
from requant.quantizers import factory
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.codes import CodeSpec
from requant.quantizers.floats import FloatQuantizer
from requant.store import ledger
from requant.store.engine import Store
from requant.store.ledger import Generation, IndexConfig, IndexRow
from requant.store.reader import CollectionState, Reader, Watermark
from requant.store.schema import CollectionRow, key_range

if TYPE_CHECKING:
    from typing_extensions import Self

ATTACHED = "attached"
# Of a few vectors that were in it when it was attached, so many are found by themselves still.
_SAME = 0.5


class AttachedBackend:
    """A foreign index with our keys: its ids are looked up in the store."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        engine=ATTACHED,
        storage="live",
        places=("folder", "server"),
        supports=(Support("native", "flat", ("ip", "l2"), lossy=True),),
    )

    def __init__(
        self, foreign: Attached, store: Store, owner: CollectionRow, row: IndexRow
    ) -> None:
        """Ask `foreign` for the collection `owner`."""
        self.spec = IndexSpec(CodeSpec("native", owner.dim), "ip")
        self._foreign = foreign
        self._store = store
        self._owner = owner
        self._row = row
        self._size = len(foreign)  # a server would have to be asked each time

    @classmethod
    def create(
        cls,
        spec: IndexSpec,
        location: str | None = None,
        *,
        sample: Codes | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Somebody else does that; raises UnsupportedError."""
        raise UnsupportedError("an attached index is made by another program")

    @classmethod
    def open(cls, spec: IndexSpec, location: str, *, mmap: bool = False) -> Self:
        """Attach it instead; raises UnsupportedError."""
        raise UnsupportedError("an attached index is opened by attach")

    @classmethod
    def drop(cls, spec: IndexSpec, location: str) -> None:
        """Leave it where it is: it is not ours."""

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Raise UnsupportedError: it is not ours."""
        raise UnsupportedError("an attached index is never written to: migrate to one of your own")

    def delete(self, keys: Keys) -> int:
        """Raise UnsupportedError: it is not ours."""
        raise UnsupportedError("an attached index is never written to: migrate to one of your own")

    def search(
        self,
        queries: Codes,
        k: int,
        *,
        among: Keys | None = None,
        effort: int | None = None,
        codes: bool = False,
    ) -> Candidates:
        """Return the candidates that the collection has, in the foreign order."""
        answers = self._foreign.ask(queries, k, effort)
        with self._store.reading() as reader:
            known = self._keys(reader, sorted({name for row in answers for name in row}))
        keys = np.full((len(queries), k), -1, np.int64)
        distances = np.full((len(queries), k), np.inf, np.float32)
        for row, names in enumerate(answers):
            # Two of its ids may stand for one item.
            found = list(dict.fromkeys(known[name] for name in names if name in known))[:k]
            keys[row, : len(found)] = found
            distances[row, : len(found)] = np.arange(len(found))
        return Candidates(keys, distances)

    def export(self, batch: int = 65536) -> Iterator[tuple[Keys, Codes]]:
        """Raise UnsupportedError: import its items instead."""
        raise UnsupportedError("an attached index is not ours to export")

    def __len__(self) -> int:
        """Return how many vectors the foreign index holds."""
        return self._size

    def flush(self, location: str | None = None) -> None:
        """Nothing was written."""

    def close(self) -> None:
        """Let go of it."""
        self._foreign.close()

    def _keys(self, reader: Reader, names: list[str]) -> dict[str, int]:
        if self._row.config.options.get("aliases"):
            return reader.aliases(self._row.id, names)
        return reader.keys_of(self._owner.id, names)


class AttachedIndex:
    """What `FollowingIndex` is for our own indexes; it knows of nothing later than its watermark.

    Searches add by themselves what was written since.
    """

    def __init__(self, premises: Premises, owner: CollectionRow, row: IndexRow) -> None:
        """Open nothing yet."""
        self.row = row
        self._premises = premises
        self._owner = owner
        self._lock = threading.RLock()
        self._loaded: Loaded | None = None
        self._told = False

    def sync(
        self,
        reader: Reader,
        state: CollectionState,
        progress: Progress | None = None,
        *,
        wait: bool = False,
    ) -> Loaded | None:
        """Return the index as it stands."""
        with self._lock:
            if self._loaded is None:
                loaded = self._open()
                try:
                    self._check(loaded, reader, state)
                except BaseException:
                    loaded.backend.close()
                    raise
                self._loaded = loaded
            if self._loaded.watermark.seq >= state.log_floor:
                return self._loaded
            if not self._told:
                text = (
                    f"index {self.row.name!r} of {self._owner.name!r} is attached and too much was "
                    "written since: searches are exact until you migrate to an index of your own"
                )
                warnings.warn(text, IndexWarning, stacklevel=2)
                self._told = True
            return None

    def rebuild(
        self,
        reader: Reader,
        state: CollectionState,
        progress: Progress | None = None,
        *,
        overwrite: bool = False,
    ) -> bool:
        """Raise UnsupportedError: it is not ours."""
        raise UnsupportedError(
            f"index {self.row.name!r} is attached and never written to: migrate to one of your own"
        )

    def publish(self, *, wait: bool = True) -> bool:
        """Nothing was written."""
        return True

    def pinned(self) -> AbstractContextManager[object]:
        """Keep other threads from opening or closing it."""
        return self._lock

    def let_go(self) -> None:
        """Close it: whoever owns it may want to move it."""
        self.close()

    def close(self) -> None:
        """Close it."""
        with self._lock:
            if self._loaded is not None:
                self._loaded.backend.close()
            self._loaded = None

    def _check(self, loaded: Loaded, reader: Reader, state: CollectionState) -> None:
        """Raise CorruptIndexError if something else stands there than was attached."""
        if loaded.watermark.seq < state.log_floor:
            return
        known = state._replace(next_key=loaded.watermark.key)
        keys, vectors = spread(reader, self._owner, known, count=8)
        changed = reader.changed(self._owner.id, loaded.watermark.seq, loaded.watermark.key)
        same = ~np.isin(keys, changed)
        keys, vectors = keys[same], vectors[same]
        if not len(keys):
            return
        found = loaded.backend.search(prepared(self._owner, vectors), min(40, loaded.size)).keys
        if (found == keys[:, None]).any(axis=1).mean() < _SAME:
            raise CorruptIndexError(
                f"{self.row.config.url} does not hold what it held when it was attached as "
                f"{self.row.name!r}: attach it again"
            )

    def _open(self) -> Loaded:
        published = ledger.generations(self._premises.store, self.row.id)
        if not published:
            raise CorruptIndexError(f"index {self.row.name!r} has never been attached: drop it")
        foreign = open_foreign(self.row.config, self._premises, self._owner)
        mark = published[0][0].watermark
        backend = AttachedBackend(foreign, self._premises.store, self._owner, self.row)
        quantizer = FloatQuantizer(self._owner.dim, "native")
        home = FileHome(self._premises, self.row)
        rows = len(backend)
        return Loaded(quantizer, backend, rows, mark, home, reaching=mark.seq, attached=True)


def open_foreign(config: IndexConfig, premises: Premises, owner: CollectionRow) -> Attached:
    """Open the index that `config` names; raises InputError where it does not fit `owner`."""
    engine: Any = registry.load(config.engine)
    if not hasattr(engine, Attaching.attach.__name__):
        raise UnsupportedError(f"{config.engine} cannot open indexes of other programs")
    params: dict[str, Any] = {**config.params, **premises.secrets.get(config.engine, {})}
    foreign: Attached = engine.attach(config.url or "", params)
    if foreign.dim != owner.dim:
        foreign.close()
        raise InputError(
            f"{config.url} holds vectors of {foreign.dim} dimensions, collection {owner.name!r} "
            f"has {owner.dim}"
        )
    return foreign


def spread(
    reader: Reader, owner: CollectionRow, state: CollectionState, count: int = 100
) -> tuple[Keys, Float32s]:
    """Return keys and vectors `(n, d) float32` from all over a collection, about `count`."""
    first, _ = key_range(owner.id)
    keys = np.unique(np.linspace(first, max(state.next_key - 1, first), count).astype(np.int64))
    found, vectors = reader.vectors(keys, owner.dim)
    order = np.argsort(found)
    return found[order], vectors[order]


def mark_attached(
    store: Store, owner: CollectionRow, row: IndexRow, state: CollectionState, items: int
) -> None:
    """Record that an index holds what the collection held at `state`."""
    quantizer = FloatQuantizer(owner.dim, "native")
    _, end = key_range(owner.id)
    generation = Generation(
        fingerprint=factory.fingerprint(quantizer),
        fit_rows=items,
        spec={"metric": "ip", "expected": items},
        watermark=Watermark(min(state.next_key, end), state.seq),
        items=items,
        file="",
        digest=Digest(0, ""),
    )
    ledger.record(store, row, generation, factory.to_bytes(quantizer))
