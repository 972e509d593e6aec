"""Where an attached index is kept: wherever its own program keeps it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np

from requant.adapters.files import Digest
from requant.adapters.protocol import Attached, Backend, IndexSpec
from requant.errors import CorruptIndexError, UnsupportedError
from requant.indexes.location.attached_backend import AttachedBackend, open_attached
from requant.indexes.location.workspace import Workspace
from requant.indexes.trial import Trial, tried
from requant.metrics import warn
from requant.quantizers.arrays import Codes
from requant.store import CollectionRow, Generation, Head, IndexRow, Reader, Watermark

# Of a few vectors that were in it when it was attached, so many are found by themselves still; of
# many, so many where it was changed.
_FEW, _SAME = 8, 0.5
_MANY, _LEAST = 200, 0.9
_NOT_OURS = "is attached and never written to: migrate to an index of your own"


class AttachedLocation:
    """Another program keeps the index; its one generation says what the store held at that time."""

    readable = True
    live = False
    own = False
    attached = True

    def __init__(self, workspace: Workspace, owner: CollectionRow, row: IndexRow) -> None:
        """Stand for the place that the config of `row` names."""
        self._workspace = workspace
        self._owner = owner
        self._row = row
        self.complaint: str | None = None

    def write_lock(self, wait: bool) -> AbstractContextManager[bool]:
        """Nobody writes there."""
        return nullcontext(True)

    def create(
        self, spec: IndexSpec, sample: Codes, mark: Watermark, overwrite: bool
    ) -> tuple[str, Backend]:
        """Raise UnsupportedError: it is not ours."""
        raise UnsupportedError(f"index {self._row.name!r} {_NOT_OURS}")

    def open(self, generation: Generation, spec: IndexSpec) -> Backend:
        """Open it; raises CorruptIndexError if something else stands there than was attached.

        What was changed and holds what it has to all the same is used, with an IndexWarning.
        """
        self.complaint = None
        attached = open_attached(self._row.config, self._workspace, self._owner)
        backend = AttachedBackend(attached, self._workspace.store, self._owner, self._row)
        try:
            self._check(backend, attached, generation)
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

    def stamp(self, name: str) -> str | None:
        """It was told when it was attached."""
        return None

    def holds(self, name: str, backend: Backend) -> bool:
        """It is looked at when it is opened."""
        return True

    def followed_to(self, name: str, backend: Backend, seq: int) -> bool:
        """Nothing of it changes."""
        return True

    def announce(self, name: str, backend: Backend, seq: int) -> None:
        """Nobody needs to know."""

    def check_turn(self, name: str) -> None:
        """Nobody else writes there."""

    def advance(self, name: str, mark: Watermark, items: int) -> None:
        """Nobody needs to know."""

    def clear(self, useless: set[str], keep: set[str]) -> None:
        """Leave it where it is."""

    def _check(self, backend: AttachedBackend, attached: Attached, generation: Generation) -> None:
        """Try it: a little where it says that it is what it was, thoroughly where it does not."""
        stamp = attached.stamp()
        changed = generation.stamp is not None and stamp != generation.stamp
        mark = generation.watermark
        with self._workspace.store.reading() as reader:
            state = reader.state_of(self._owner)
            known = state.before(mark.key)
            moved = reader.changed(self._owner.id, mark.seq, mark.key)
            moved = np.union1d(moved, state.fresh.keys(0, mark.key))
            count = _MANY if changed else _FEW
            trial = tried(reader, self._owner, known, moved, backend, count, thorough=changed)
        if trial is None:
            return
        lacks = changed and len(backend) < trial.items
        if trial.found < (_LEAST if changed else _SAME) or lacks:
            raise CorruptIndexError(
                f"{self._row.config.url} does not hold what it held when it was attached as "
                f"{self._row.name!r} ({self._told(trial, backend)}): attach it again"
            )
        if changed:
            self.complaint = (
                f"{self._row.config.url} was changed since it was attached "
                f"({self._told(trial, backend)}): attach it again, or migrate to an index of your "
                "own"
            )
            warn("indexes", f"index {self._row.name!r} of {self._owner.name!r}: {self.complaint}")

    def _told(self, trial: Trial, backend: AttachedBackend) -> str:
        return (
            f"it holds {len(backend)} vectors, finds {trial.found:.0%} of {trial.asked} stored "
            f"ones by themselves, and {trial.recall:.0%} of their 10 nearest"
        )
