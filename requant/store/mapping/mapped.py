"""The mapping of one reader's connection: made when rows are fetched, left when much is read."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from requant.store.mapping.regions import read_here_and_there

if TYPE_CHECKING:
    from requant.store.connections import Standing

_MOST = (2 << 30) - (64 << 10)  # what SQLite is built to map
# Looking for a mapping may take one part in so many of a reader's time: where others write all the
# time, each snapshot has another one, and it is not worth while.
_SHARE = 100


class Mapped:
    """Has SQLite map its file for one connection.

    SQLite looks at the size of the file as each snapshot begins, and refuses one that lacks pages:
    what is cut off later, while it is read, is what ends the process.

    Each transaction of others lets SQLite map anew, as the file may have grown, and the new mapping
    knows nothing of what the kernel was asked of the old one: so that is asked again, or nothing is
    mapped in this snapshot.
    """

    __slots__ = ("_cursor", "_later", "_on", "_standing", "_touch", "_version", "ready")

    def __init__(self, cursor: Any, standing: Standing, touch: Sequence[str]) -> None:
        """Map nothing yet; each of `touch` reads a page, whose surroundings may be read ahead."""
        self._cursor = cursor
        self._standing = standing
        self._touch = touch
        self._on = False
        self._version: int | None = None
        self._later = 0.0
        self.ready: bool = False  # in this snapshot; False again when another begins

    def here_and_there(self) -> None:
        """Prepare for rows that lie here and there, within a transaction that has read already."""
        if not self._on and perf_counter() < self._later:
            return
        (version,) = self._cursor.execute("PRAGMA data_version").fetchone()
        if self._on and version == self._version:
            self.ready = True
            return
        begun = perf_counter()
        if begun < self._later:
            self.leave()
            return
        self._switch(_MOST)
        self.ready, self._version = self._made(), version
        self._later = begun + _SHARE * (perf_counter() - begun)
        if not self.ready:
            self.leave()

    def leave(self) -> None:
        """Let SQLite read by itself from now on: row after row, that is what is read ahead for."""
        if self._on:
            self._switch(0)
            self.ready = False

    def _made(self) -> bool:
        """Whether SQLite has mapped the file once pages have been read."""
        for touch in self._touch:
            self._cursor.execute(touch).fetchone()
        return read_here_and_there(self._standing.path, self._standing.inode)

    def _switch(self, size: int) -> None:
        if self._on != bool(size):
            self._cursor.execute(f"PRAGMA mmap_size = {size:d}").fetchone()
            self._on = bool(size)
