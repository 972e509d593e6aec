"""Where an attached index is kept: wherever its own program keeps it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np

from requant.adapters.files import Digest
from requant.adapters.protocol import Backend, IndexSpec
from requant.errors import CorruptIndexError, UnsupportedError
from requant.indexes.location.attached_backend import AttachedBackend, open_attached
from requant.indexes.location.workspace import Workspace
from requant.indexes.sampling import prepared, spread
from requant.quantizers.arrays import Codes
from requant.store import CollectionRow, Generation, Head, IndexRow, Reader, Watermark

# Of a few vectors that were in it when it was attached, so many are found by themselves still.
_SAME = 0.5
_NOT_OURS = "is attached and never written to: migrate to an index of your own"


class AttachedLocation:
    """Another program keeps the index; its one generation says what the store held at that time."""

    readable = True
    live = False
    attached = True

    def __init__(self, workspace: Workspace, owner: CollectionRow, row: IndexRow) -> None:
        """Stand for the place that the config of `row` names."""
        self._workspace = workspace
        self._owner = owner
        self._row = row

    def write_lock(self, wait: bool) -> AbstractContextManager[bool]:
        """Nobody writes there."""
        return nullcontext(True)

    def create(
        self, spec: IndexSpec, sample: Codes, mark: Watermark, overwrite: bool
    ) -> tuple[str, Backend]:
        """Raise UnsupportedError: it is not ours."""
        raise UnsupportedError(f"index {self._row.name!r} {_NOT_OURS}")

    def open(self, generation: Generation, spec: IndexSpec) -> Backend:
        """Open it; raises CorruptIndexError if something else stands there than was attached."""
        attached = open_attached(self._row.config, self._workspace, self._owner)
        backend = AttachedBackend(attached, self._workspace.store, self._owner, self._row)
        try:
            self._check(backend, generation.watermark)
        except BaseException:
            backend.close()
            raise
        return backend

    def write(self, name: str, backend: Backend) -> tuple[str, Digest]:
        """Raise UnsupportedError: it is not ours."""
        raise UnsupportedError(f"index {self._row.name!r} {_NOT_OURS}")

    def head(self, reader: Reader | None) -> Head | None:
        """Nothing of it changes."""
        return None

    def announce(self, name: str, seq: int) -> None:
        """Nobody needs to know."""

    def advance(self, name: str, mark: Watermark, items: int) -> None:
        """Nobody needs to know."""

    def clear(self, useless: set[str], keep: set[str]) -> None:
        """Leave it where it is."""

    def _check(self, backend: AttachedBackend, mark: Watermark) -> None:
        with self._workspace.store.reading() as reader:
            known = reader.state_of(self._owner)._replace(next_key=mark.key)
            keys, vectors = spread(reader, self._owner, known, count=8)
            changed = reader.changed(self._owner.id, mark.seq, mark.key)
        same = ~np.isin(keys, changed)
        keys, vectors = keys[same], vectors[same]
        if not len(keys):
            return
        found = backend.search(prepared(self._owner, vectors), min(40, len(backend))).keys
        if (found == keys[:, None]).any(axis=1).mean() < _SAME:
            raise CorruptIndexError(
                f"{self._row.config.url} does not hold what it held when it was attached as "
                f"{self._row.name!r}: attach it again"
            )
