"""A foreign source whose ids, documents and metadata fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.protocol import Fidelity
from requant.integration.readers.source import Batch
from requant.tables import SeenIds

Metric = Literal["cosine", "ip", "l2"]


@dataclass
class Listed:
    """Items as lists; a `ForeignSource`.

    `vectors (m, d)` belong to the items that `present (n,) bool` marks, to all of them if it is
    None. `origins` has the document that an item is a part of, by the item's id, and `beside` what
    it has that is no metadata.
    """

    name: str
    kind: str
    fidelity: Fidelity
    metric: Metric | None
    ids: Sequence[Any]
    vectors: NDArray[np.float32]
    documents: list[Any] | None = None
    metadata: list[Any] | None = None
    present: NDArray[np.bool_] | None = None
    notes: Sequence[str] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dim: int = field(init=False)
    rows: int | None = field(init=False)

    def __post_init__(self) -> None:
        """Check that the lists are of one length."""
        vectors = len(self.ids) if self.present is None else int(self.present.sum())
        if len(self.vectors) != vectors:
            raise SourceError(f"{self.name}: {len(self.vectors)} vectors for {vectors} items")
        if self.present is not None and self.present.all():
            self.present = None
        self.dim, self.rows = int(self.vectors.shape[1]), len(self.ids)
        if missing := len(self.ids) - vectors:
            self.note(f"{missing} of {len(self.ids)} items have no vector")

    def note(self, text: str) -> None:
        """Add a note."""
        self.notes = [*self.notes, text]

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all items, at most `size` at a time; raises SourceError for an id seen before."""
        seen, at = SeenIds(), 0
        for first in range(0, len(self.ids), size):
            part = slice(first, first + size)
            ids = list(self.ids[part])
            repeated = seen.first_repeated(ids)
            if repeated is not None:
                raise SourceError(
                    f"{self._place(first + repeated)}: this id occurs a second time: ids must be "
                    "unique"
                )
            present = None if self.present is None else self.present[part]
            count = len(ids) if present is None else int(present.sum())
            yield Batch(
                ids,
                self.vectors[at : at + count],
                None if present is None or present.all() else present,
                None if self.documents is None else self.documents[part],
                None if self.metadata is None else self.metadata[part],
                lambda row, what, first=first: self._place(first + row),  # type: ignore[misc]
            )
            at += count

    def close(self) -> None:
        """Do nothing: no file is open."""

    def _place(self, row: int) -> str:
        return f"{self.name} item {row} (id {str(self.ids[row])[:80]!r})"


def refuse_wanted(name: str, kind: str, wanted: Wanted) -> None:
    """Raise SourceError where columns are asked of a store that knows itself what is what."""
    given = {"--ids": wanted.ids, "--vector": wanted.vector, "--documents": wanted.documents}
    options = [option for option, value in given.items() if value is not None]
    options += ["--metadata"] if wanted.metadata else []
    if options:
        raise SourceError(
            f"{name}: {kind} tells itself where its ids, vectors, documents and metadata are: "
            f"leave out {' and '.join(options)}"
        )
