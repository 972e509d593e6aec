"""An index that another program made, as a backend: it is asked, and never written to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from requant.adapters import registry
from requant.adapters.hosts import folder_of
from requant.adapters.protocol import (
    Attached,
    Attaching,
    Candidates,
    Capabilities,
    IndexSpec,
    Keys,
    Support,
)
from requant.errors import CorruptIndexError, InputError, UnsupportedError
from requant.indexes.location.workspace import Workspace
from requant.quantizers.arrays import Codes
from requant.quantizers.codes import CodeSpec
from requant.store import CollectionRow, IndexConfig, IndexRow, Reader, Store, refuse_own_file

if TYPE_CHECKING:
    from typing_extensions import Self

ATTACHED = "attached"


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
        self.spec: IndexSpec = IndexSpec(CodeSpec("native", owner.dim), "ip")
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
        with self._store.reading_further() as reader:
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


def open_attached(config: IndexConfig, workspace: Workspace, owner: CollectionRow) -> Attached:
    """Open the index that `config` names; raises InputError where it does not fit `owner`."""
    engine: Any = registry.load(config.engine)
    if not hasattr(engine, Attaching.attach.__name__):
        raise UnsupportedError(f"{config.engine} cannot open indexes of other programs")
    refuse_own_file(config.url or "")
    _refuse_pipe(config.url)
    params: dict[str, Any] = {**config.params, **workspace.secrets.of(config)}
    foreign: Attached = engine.attach(config.url or "", params)
    if foreign.dim != owner.dim:
        foreign.close()
        raise InputError(
            f"{config.url} holds vectors of {foreign.dim} dimensions, collection {owner.name!r} "
            f"has {owner.dim}"
        )
    return foreign


def _refuse_pipe(url: str | None) -> None:
    """Raise CorruptIndexError for what could be read without an end; the store has named it."""
    place = folder_of(url)
    if place is not None and place.exists() and not (place.is_file() or place.is_dir()):
        raise CorruptIndexError(f"{place} is neither a file nor a folder")
