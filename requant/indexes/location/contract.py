"""What both kinds of location have in common, so that whoever follows the store need not know."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from requant.adapters.files import Digest
from requant.adapters.protocol import Backend, IndexSpec
from requant.quantizers.arrays import Codes
from requant.store import Generation, Head, Reader, Watermark


class Location(Protocol):
    """Where one index is kept.

    `readable`: it can be opened by reading alone. `live`: its engine keeps it and all processes
    share it. `own`: in our own folder. `attached`: another program made it, and it is never written
    to. `complaint`: what is wrong with what was opened, though it may be used.
    """

    readable: bool
    live: bool
    own: bool
    attached: bool
    complaint: str | None

    def write_lock(self, wait: bool) -> AbstractContextManager[bool]:
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

    def stamp(self, name: str) -> str | None:
        """Return what its generation has to say of it, beside its name and size."""

    def holds(self, name: str, backend: Backend) -> bool:
        """Whether what was opened is still what it was, as far as can be told at no cost."""

    def followed_to(self, name: str, backend: Backend, seq: int) -> bool:
        """Whether the place itself says that it is ours, and follows nothing beyond `seq`."""

    def announce(self, name: str, backend: Backend, seq: int) -> None:
        """Tell other processes, and the place, that changes up to `seq` are going to be written.

        Raises CorruptIndexError if it is not ours to write to, TurnLostError.
        """

    def check_turn(self, name: str) -> None:
        """Raise TurnLostError if another process has begun to write there meanwhile."""

    def advance(self, name: str, mark: Watermark, items: int) -> None:
        """Tell other processes how far that has been done."""

    def clear(self, useless: set[str], keep: set[str]) -> None:
        """Remove what no generation names any more."""
