"""An index in use: a quantizer, the backend that holds its codes, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from requant.adapters.protocol import Backend, Keys, Sparing, Support
from requant.indexes.location import Location
from requant.indexes.nearby import Nearby
from requant.quantizers import factory
from requant.quantizers.protocol import Quantizer, Refining
from requant.store import CollectionRow, CollectionState, Head, Reader, Seen, Watermark

# Rows that an index has followed where nobody has noted them.
UNKNOWN = 1 << 48
_NOTHING = Seen(0, None)
_NO_KEYS = np.empty(0, np.int64)


@dataclass
class Loaded:
    """What searches ask.

    `name` is the place where a live engine keeps it, empty for an index in our own memory. `heard`
    is the rank that its place told of on opening: not to be relied on after a power failure. `seen`
    is the latest write that is known to have led to what it holds.
    """

    quantizer: Quantizer
    backend: Backend
    fit_rows: int
    watermark: Watermark
    location: Location
    name: str = ""
    reaching: int = 0  # the seq that it is being caught up with; its watermark once it is
    heard: tuple[int, int] = (0, 0)
    seen: Seen = _NOTHING
    items: int = 0
    recorded: bool = False  # whether a generation names its place
    unpublished: int = 0
    postponed: int = 0  # what was unpublished when publishing last failed
    logged: tuple[int, int] = (0, 0)  # the last (seq, key) of the log that a share has followed
    seconds_a_row: float = 0.0  # what following has cost lately
    seconds_unfollowed: float = 0.0  # what reading the rest has cost the last search
    index: str = ""  # what the user calls it
    built: int = 0  # its size when it was built, here
    judged: int = 0  # its size when its quantizer was last found good enough
    followed: int = 0  # rows since its quantizer was fitted, or last found to fit
    told: bool = False  # whether it was said that it should be calibrated again
    nearby: Nearby = field(default_factory=Nearby)
    _changed: tuple[object, Keys] = field(default=(None, _NO_KEYS), init=False, repr=False)

    @property
    def size(self) -> int:
        """How many keys it holds; of a live index, as of the last write that was told of."""
        return self.items if self.name else len(self.backend)

    @property
    def attached(self) -> bool:
        """Whether it is another program's, and cannot be read back."""
        return self.location.attached

    @property
    def support(self) -> Support:
        """What the engine declares for this kind of index."""
        spec = self.backend.spec
        row = self.backend.capabilities.find(spec.code.format, spec.index_type)
        assert row is not None
        return row

    @cached_property
    def made(self) -> str:
        """What it is made of, in short: another quantizer, or lists, need another calibration."""
        return f"{factory.fingerprint(self.quantizer)} {self.backend.spec.expected}"

    @cached_property
    def takes_key_sets(self) -> bool:
        """Whether the engine can search among given keys."""
        return self.support.key_sets

    @cached_property
    def refines(self) -> bool:
        """Whether candidates come with their codes, and the quantizer makes something of them."""
        return self.support.codes and isinstance(self.quantizer, Refining)

    @cached_property
    def oversample(self) -> float:
        """How many candidates a result needs: an engine may know its own compression better."""
        if isinstance(self.backend, Sparing):
            return self.backend.oversample
        return self.quantizer.oversample

    def heed(self, head: Head) -> None:
        """Take over how far another process has brought the place since it was opened here."""
        if head.mark.rank > max(self.watermark.rank, self.heard):
            self.watermark, self.items = head.mark, head.items
            self.reaching = max(self.reaching, head.reaching)

    def note(self, state: CollectionState) -> None:
        """Remember a state that was found to come after what has been seen."""
        if state.seq > self.seen.seq:
            self.seen = state.seen

    def changed(
        self, reader: Reader, owner: CollectionRow, state: CollectionState, mark: Watermark
    ) -> Keys:
        """Return the keys below that of `mark` that were changed after it, up to `state`.

        Until somebody writes, or numbers what was written, searches need not ask again.
        """
        at, keys = self._changed
        if reader.lent or at != (mark, state.seen):
            keys = reader.changed(owner.id, mark.seq, mark.key)
        if not reader.lent:
            self._changed = (mark, state.seen), keys
        return keys

    def serves(self, reader: Reader, owner: CollectionRow, state: CollectionState) -> bool:
        """Whether what it holds has led to `state`, which may never be committed.

        Nothing of it is remembered. What cannot be told within one transaction is denied.
        """
        behind = state.log_floor <= self.watermark.seq
        if not behind or max(self.reaching, self.seen.seq) > state.seq:
            return False
        if self.name:
            head = self.location.head(reader)
            if head is None or head.name != self.name:
                return False
        return reader.knows(owner.id, state, self.seen) is True

    def may_be_ahead_of(self, seq: int) -> bool:
        """Whether it may hold what a snapshot at `seq` does not, told without the store's help.

        To be asked after a search, where nothing but an older snapshot of the store can be read.
        """
        if self.reaching > seq:
            return True
        return bool(self.name) and not self.location.followed_to(self.name, self.backend, seq)

    def is_ahead_of(self, seq: int) -> bool:
        """Whether it may hold what a snapshot at `seq` does not; to be asked after a search."""
        if self.reaching > seq or not self.name:
            return self.reaching > seq
        head = self.location.head(None)
        return head is not None and head.name == self.name and head.reaching > seq
