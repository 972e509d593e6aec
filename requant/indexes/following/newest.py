"""The newest generation of an index that can be used, opened."""

from __future__ import annotations

import time
from collections.abc import Callable

from requant.errors import CorruptDataError, CorruptIndexError
from requant.indexes.loaded import UNKNOWN, Loaded
from requant.indexes.location import Location, Workspace
from requant.indexes.spec import index_spec
from requant.quantizers import factory
from requant.store import Generation, Head, IndexRow, ledger

# A place that fails again within so many seconds is damaged.
_SOON = 60.0


class Newest:
    """Opens generations of one index, and remembers those that cannot be used."""

    def __init__(
        self,
        workspace: Workspace,
        row: IndexRow,
        location: Location,
        warn: Callable[[str], None],
        note_damage: Callable[[], None],
    ) -> None:
        """Open what is kept at `location`; `warn` is told what is damaged, `note_damage` that."""
        self._workspace = workspace
        self._store = workspace.store
        self._row = row
        self._location = location
        self._warn = warn
        self._note_damage = note_damage
        self.damaged: set[str] = set()
        self.complaint: str | None = None  # where nothing is made again, said by who reads on
        self._failed = ("", 0.0)

    def open(self, log_floor: int, head: Head | None) -> Loaded | None:
        """Return the newest one that is whole and not older than the change log, if there is one.

        Raises CorruptIndexError for an attached index: nobody here could make it again.
        """
        tried: set[str] = set()
        while True:
            # Another process may publish, and remove what we were told of, while we open it.
            fresh = [
                (generation, body)
                for generation, body in ledger.generations(self._store, self._row.id)
                if generation.watermark.seq >= log_floor
                and generation.file not in tried | self.damaged
            ]
            if self._location.live:  # what stood in an older place is not looked after any more
                fresh = [one for one in fresh if head is not None and one[0].file == head.name]
            if not fresh:
                return None
            generation, body = fresh[0]
            tried.add(generation.file)
            try:
                loaded = self._opened(generation, body, head)
            except (CorruptIndexError, CorruptDataError) as error:
                if self._location.attached:
                    raise
                self._take_for_damaged(generation.file, error)
                continue
            loaded.unpublished = len(self.damaged)  # what is damaged is to be replaced
            return loaded

    def fails(self, name: str, error: BaseException) -> None:
        """Note that a place was opened and failed in use: again, and it is taken for damaged."""
        (before, when), now = self._failed, time.monotonic()
        self._failed = name, now
        if before == name and now - when < _SOON:
            self.damaged.add(name)
            self._note_damage()
            self._warn(f"{error}; it is made again from the stored vectors")

    def _take_for_damaged(self, file: str, error: Exception) -> None:
        if file in ledger.files(self._store, self._row.id):
            self.damaged.add(file)
            self._note_damage()
            if self._store.read_only:
                self.complaint = self.complaint or str(error)
                return
            cure = "it is made again from an older generation or from the stored vectors"
            self._warn(f"{error}; {cure}")

    def _opened(self, generation: Generation, body: bytes, head: Head | None) -> Loaded:
        quantizer = factory.from_bytes(body)
        if factory.fingerprint(quantizer) != generation.fingerprint:
            raise CorruptIndexError("its quantizer is not the one that made its codes")
        secrets = self._workspace.secrets
        made = dict(generation.spec)
        followed = made.pop("followed", UNKNOWN)
        spec = index_spec(self._row.config, secrets, quantizer, **made)
        backend = self._location.open(generation, spec)
        mark, rows = generation.watermark, generation.fit_rows
        loaded = Loaded(quantizer, backend, rows, mark, self._location, reaching=mark.seq)
        loaded.recorded, loaded.index, loaded.followed = True, self._row.name, followed
        if head is not None:
            loaded.name, loaded.heard, loaded.items = head.name, head.mark.rank, head.items
            loaded.reaching = max(mark.seq, head.reaching)
        return loaded
