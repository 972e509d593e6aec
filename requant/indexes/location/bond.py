"""Between a live engine's place and the store: whose the place is, and whose turn it is there."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace

from requant.adapters.protocol import Backend
from requant.errors import CorruptIndexError, EngineError, TurnLostError
from requant.indexes.location import notes
from requant.indexes.location.notes import Note
from requant.indexes.location.workspace import Workspace
from requant.store import CollectionRow, IndexRow, Watermark, ledger, locations

# How often a place in use is asked whose it is, in seconds.
ASK_EVERY = 2.0
# So long whoever writes first, after a clone was made of the database, waits for the clone: longer
# than it takes from reading a note to writing it.
_PAUSE, _PAUSE_TIMES = 0.02, 4
_sleep = time.sleep
# How often this process has written to a place or made it: then others in it ask at once.
_written: Counter[str] = Counter()


def wrote(where: str) -> None:
    """Let whoever uses the place ask whose it is."""
    _written[where] += 1


class Bond:
    """Compares notes with the store for one index; its caller holds the lock where it writes.

    The serial that the store has of a place is the fence of whoever writes there: each turn takes
    the next one, and what goes on under an older one has lost its turn.
    """

    def __init__(self, workspace: Workspace, owner: CollectionRow, row: IndexRow) -> None:
        """Know nothing yet."""
        self._workspace = workspace
        self._store = workspace.store
        self._owner = owner
        self._row = row
        # Of each place: the mark of its note, and of the store, as they were last found to agree.
        self._agreed: dict[str, tuple[tuple[int, str], tuple[int, str]]] = {}
        self._turn = (0, "")
        self._begun: set[str] = set()  # the places that this process has written to
        self._asked = 0.0
        self._seen = -1  # how much of `_written` there was then

    def renew(self, name: str, backend: Backend, least: int) -> None:
        """Accept a place that was opened; raises CorruptIndexError if it is not as it was left.

        `least` is the serial under which its generation was published.
        """
        # The store is asked afterwards: it learns of every write before the place does.
        note = notes.read(backend)
        before = self._place(name)
        self._check(note, before, name, backend)
        if note is not None and note.serial < least:
            raise CorruptIndexError(f"{self._where(name)} has lost what was published there")
        if before.settled and (note is None or note.mark == before[:2]):
            held = len(backend)
            if held != before.items and self._place(name) == before:
                raise CorruptIndexError(
                    f"{self._where(name)} holds {held} items, {before.items} were written"
                )
        self._agree(name, note, before)
        self._asked = time.monotonic()

    def holds(self, name: str, backend: Backend) -> bool:
        """Whether a place in use is still ours; it is not asked more often than needs be."""
        now, written = time.monotonic(), _written[self._where(name)]
        recently = now - self._asked < ASK_EVERY and written == self._seen
        if recently or not backend.capabilities.notes:
            return True
        self._asked, self._seen = now, written
        try:
            note = notes.read(backend)
        except EngineError:
            return True  # the search itself will tell
        place = locations.find(self._store, self._row.id, name)
        if place is None:
            return True  # given up by another process, which the head tells
        return self._objection(note, place, backend) is None

    def followed_to(self, backend: Backend, seq: int) -> bool:
        """Whether the place says that it is ours, and that nothing beyond `seq` was written to it.

        Without the store, of which an older snapshot may be all that can be read.
        """
        try:
            note = notes.read(backend)
        except EngineError:
            return False
        if note is None or note.seq > seq:
            return False
        ours = (note.collection, note.index) == (self._owner.id, self._row.id)
        return ours and self._workspace.identity.knows(note.database)

    def announce(self, name: str, backend: Backend, seq: int) -> None:
        """Begin a turn: raises CorruptIndexError if the place is not ours, TurnLostError."""
        note = notes.read(backend)
        place = self._place(name)
        self._check(note, place, name, backend)
        mark = note.mark if note is not None else place[:2]
        if mark != place[:2] and self._agreed.get(name) != (mark, place[:2]):
            raise CorruptIndexError(f"{self._where(name)} has lost what was last written there")
        serial, token = place.serial + 1, secrets.token_hex(8)
        index, owner = self._row.id, self._owner.id
        if not locations.announce(self._store, index, name, seq, serial, token):
            raise TurnLostError(self._lost(name))
        self._turn = (serial, token)
        wrote(self._where(name))
        mine = Note(self._workspace.identity.name, owner, index, serial, token, seq)
        if self._is_reachable(name, place, backend):
            self._begin_alone(name, backend, note, mine)
        else:
            notes.write(backend, mine)
        self._begun.add(name)
        self._agreed[name] = (self._turn, self._turn)
        self._asked, self._seen = time.monotonic(), _written[self._where(name)]

    def _is_reachable(self, name: str, place: locations.Place, backend: Backend) -> bool:
        """Whether a clone of the database may write there at this moment, both for the first time.

        Who has written once since then finds a note of one's own, or the other's.
        """
        shared = self._row.config.url is not None and backend.capabilities.notes
        return shared and place.serial > 0 and name not in self._begun

    def _begin_alone(self, name: str, backend: Backend, before: Note | None, mine: Note) -> None:
        """Write a note, and wait whether a clone does so, too; raises CorruptIndexError if so."""
        begun = time.monotonic()
        if notes.read(backend) == before:
            notes.write(backend, mine)
            _sleep(max(_PAUSE, _PAUSE_TIMES * (time.monotonic() - begun)))
            if notes.read(backend) == mine:
                return
        raise CorruptIndexError(
            f"what stands at {self._where(name)} is not used: a copy of the database has begun to "
            "write to it at the same moment"
        )

    def check_turn(self, name: str) -> None:
        """Raise TurnLostError if another process has begun to write to the place."""
        place = locations.find(self._store, self._row.id, name)
        if place is None or place[:2] != self._turn:
            self._spoil(name)

    def advance(self, name: str, mark: Watermark, items: int) -> None:
        """End a turn; raises TurnLostError."""
        if not locations.advance(self._store, self._row.id, name, mark, items, *self._turn):
            self._spoil(name)

    def _spoil(self, name: str) -> None:
        """Give up a place that two have written to at once: older codes may be over newer ones."""
        with self._store.patience(None):  # nobody may believe in it any more
            ledger.forget(self._store, self._row, name)
        raise TurnLostError(self._lost(name))

    def _place(self, name: str) -> locations.Place:
        place = locations.find(self._store, self._row.id, name)
        if place is None:
            raise CorruptIndexError(f"{self._where(name)} was given up by another process")
        return place

    def _check(
        self, note: Note | None, place: locations.Place, name: str, backend: Backend
    ) -> None:
        if not backend.capabilities.notes:
            return
        problem = self._objection(note, place, backend)
        if problem is not None:
            raise CorruptIndexError(f"what stands at {self._where(name)} is not used: {problem}")

    def _objection(self, note: Note | None, place: locations.Place, backend: Backend) -> str | None:
        identity = self._workspace.identity
        ours = self._owner.id, self._row.id
        if note is not None and notes.is_shared(note, place, identity, *ours):
            self._warn_off(note, backend)
        return notes.objection(note, place, identity, *ours)

    def _warn_off(self, note: Note, backend: Backend) -> None:
        """Let the clone know, whose note stands there, that what it wrote is not all that is."""
        if not self._store.read_only:
            with suppress(EngineError):
                notes.write(
                    backend, replace(note, serial=note.serial + 1, token=secrets.token_hex(8))
                )

    def _agree(self, name: str, note: Note | None, place: locations.Place) -> None:
        if note is not None:
            self._agreed[name] = (note.mark, place[:2])

    def _where(self, name: str) -> str:
        return self._workspace.address_of(self._row.id, self._row.config, name)

    def _lost(self, name: str) -> str:
        return (
            f"another process has begun to write to {self._where(name)}, although it was this "
            "one's turn: the connection that held the lock was cut; what is missing is written "
            "next time"
        )
