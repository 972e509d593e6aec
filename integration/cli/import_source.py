"""What `requant import` reads: a file of columns, or an index or store of other software."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from requant.integration.cli.output import print_lines, warn

if TYPE_CHECKING:
    from requant.integration.readers import Batch, ForeignSource, Source, Wanted

_LOST = {
    "lossy": "its vectors are made from compressed codes",
    "codes-only": "its vectors are bits, as -1 and 1",
}


@dataclass(frozen=True)
class Import:
    """A source, of either kind; `foreign` is None for a file of columns, `table` for the others."""

    name: str
    table: Source | None
    foreign: ForeignSource | None

    @property
    def metric(self) -> str | None:
        """How the source compares vectors, if it tells."""
        return self.foreign.metric if self.foreign else None

    @property
    def dim(self) -> int:
        """The width of its vectors, 0 if only reading tells."""
        return self.foreign.dim if self.foreign else 0

    @property
    def short(self) -> str:
        """The last part of its name."""
        return self.name.rstrip("/").rpartition("/")[2] or self.name

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all rows."""
        return (self.foreign or self._of_columns()).batches(size)

    def total(self, rows: int) -> int | None:
        """Return how many rows there are, or will about be, now that `rows` have been read."""
        return self.foreign.rows if self.foreign else self._of_columns().total(rows)

    def close(self) -> None:
        """Let go of it."""
        if self.foreign:
            self.foreign.close()

    def described(self) -> dict[str, Any]:
        """Return what the answer says of the source."""
        if self.foreign:
            found = self.foreign
            told = {"kind": found.kind, "fidelity": found.fidelity, "notes": list(found.notes)}
            return {**told, "columns": None}
        chosen = self._of_columns().chosen
        columns = {
            "ids": chosen.ids,
            "vector": chosen.vector,
            "documents": chosen.documents,
            "metadata": [chosen.whole] if chosen.whole else list(chosen.metadata),
        }
        return {"kind": "file", "fidelity": None, "notes": [], "columns": columns}

    def warn_of_loss(self) -> None:
        """Say on stderr that exact scores are out of reach, where they are."""
        lost = _LOST.get(self.foreign.fidelity) if self.foreign else None
        if lost:
            warn(
                f"{self.name}: {lost}, so rescoring is no more exact than they are: for exact "
                "results embed the documents again"
            )

    def _of_columns(self) -> Source:
        assert self.table is not None
        return self.table


def open_import(source: str, wanted: Wanted, items: str | None) -> Import:
    """Open whatever `source` names; raises SourceError, PackageMissingError."""
    from requant.integration.errors import SourceError
    from requant.integration.readers import open_foreign, open_source

    foreign = open_foreign(source, wanted)
    if foreign is None:
        table = open_source(source, wanted, items)
        return Import(str(table.path), table, None)
    if items is not None:
        foreign.close()
        raise SourceError(
            f"--items goes with .npy and .npz: {foreign.name} has ids of its own, so import the "
            "items as a file of their own, into the same collection"
        )
    return Import(foreign.name, None, foreign)


def tell_source(told: dict[str, Any]) -> None:
    """Print what was read, and how faithful it is."""
    columns: dict[str, Any] | None = told["columns"]
    if columns is not None:
        ids = f"column {columns['ids']!r}" if columns["ids"] else "row numbers, from 0"
        metadata: Sequence[str] = columns["metadata"]
        print_lines(
            f"ids: {ids}; documents: {columns['documents'] or 'none'}; "
            f"metadata: {', '.join(metadata) or 'none'}."
        )
        return
    print_lines(f"Source: {told['kind']}; vectors: {told['fidelity']}.")
    print_lines(*(f"Note: {note}." for note in told["notes"]))
