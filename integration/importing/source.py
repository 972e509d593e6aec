"""What an import reads: a file of columns, or what other software keeps; and the items of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from requant.embeddings import ModelInfo
from requant.errors import InputError
from requant.integration.export.labels import ITEMS
from requant.integration.importing.joining import By, Join, Unmatched
from requant.integration.importing.staging import staged, staged_labels
from requant.integration.readers import (
    Batch,
    ForeignSource,
    Source,
    Wanted,
    open_foreign,
    open_source,
    open_table,
)
from requant.integration.readers.columns import ALL, Chosen, choose_items, choose_vectors

_BY = (None, "id", "row")
_UNMATCHED = ("refuse", "skip", "keep")


@dataclass(frozen=True)
class Import:
    """A source, of either kind: `foreign` is None for a file of columns, `table` for the others.

    `join` adds what belongs to its rows; `items` is the file that it is from.
    """

    name: str
    table: Source | None
    foreign: ForeignSource | None
    items: Source | None = None
    join: Join | None = None

    @property
    def model(self) -> ModelInfo | None:
        """What embedded the vectors, where the source tells; an export of ours does."""
        told = getattr(self.foreign, "model", None)
        return None if told is None else ModelInfo(**told)

    @property
    def metric(self) -> Any:
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
        """Yield all rows; raises SourceError."""
        return (self.join or self.foreign or self._of_columns()).batches(size)

    def total(self, rows: int) -> int | None:
        """Return how many rows there are, or will about be, now that `rows` have been read."""
        return self.foreign.rows if self.foreign else self._of_columns().total(rows)

    def close(self) -> None:
        """Let go of it."""
        if self.foreign:
            self.foreign.close()
        if self.join:
            self.join.staging.close()

    def described(self) -> dict[str, Any]:
        """Return what the report says of the source, by its fields."""
        told: dict[str, Any] = {"kind": "file", "fidelity": None, "notes": []}
        if self.foreign:
            notes = [*self.foreign.notes, *self._notes()]
            told = {"kind": self.foreign.kind, "fidelity": self.fidelity, "notes": notes}
        tables = [source for source in (self.table, self.items) if source]
        left = [name for source in tables for name in source.not_taken]
        return {
            **told,
            "columns": _columns(self.table.chosen, self.items) if self.table else
            _columns(None, self.items) if self.items else None,
            "items": self.join.described() if self.join else None,
            "not_taken": list(dict.fromkeys(left)),
        }  # fmt: skip

    @property
    def fidelity(self) -> Any:
        """How true the vectors are, None for a file of columns."""
        found = self.foreign.fidelity if self.foreign else None
        whole = found == "normalised" and self.join is not None and self.join.labels
        return "exact" if whole else found

    def _notes(self) -> list[str]:
        if self.join is None or not self.join.labels:
            return []
        return [f"ids, documents, metadata and lengths are those of {self.join.staging.name}"]

    def _of_columns(self) -> Source:
        assert self.table is not None
        return self.table


def open_import(
    source: str | PathLike[str],
    wanted: Wanted,
    items: str | PathLike[str] | None = None,
    by: By | None = None,
    unmatched: Unmatched = "refuse",
) -> Import:
    """Open whatever `source` names, joined to the rows of `items`.

    Raises:
        SourceError: it cannot be read, or the two do not fit.
        PackageMissingError: reading it needs a package that is not installed.
    """
    _check(items, by, unmatched)
    own = Wanted(vector=wanted.vector) if items is not None else wanted
    foreign = open_foreign(fspath(source), own)
    if foreign is None and items is None:
        table = open_source(fspath(source), wanted)
        return Import(str(table.path), table, None)
    if foreign is None:
        found = open_table(fspath(source))
        vectors = Source(found, choose_vectors(found, wanted))
        return _joined(Import(str(found.path), vectors, None), wanted, items, by, unmatched)
    try:
        opened = Import(foreign.name, None, foreign)
        if items is None:
            return _labelled(opened)
        return _joined(opened, wanted, items, by, unmatched)
    except BaseException:
        foreign.close()
        raise


def _joined(opened: Import, wanted: Wanted, items: Any, by: By | None, unmatched: Any) -> Import:
    table = open_table(items)
    if table.path.suffix.lower() in (".npy", ".npz"):
        raise InputError(
            f"--items takes texts and metadata (.parquet, .arrow, .csv, .tsv, .jsonl), not {items}"
        )
    asked = Wanted(ids=wanted.ids, documents=wanted.documents, metadata=wanted.metadata)
    rows = Source(table, choose_items(table, asked))
    positions = opened.foreign is None
    has_ids = not positions or opened.table.chosen.ids is not None  # type: ignore[union-attr]
    staging = staged(rows)
    source = opened.foreign or opened.table
    assert source is not None
    try:
        join = Join(
            opened.name, source.batches, staging, has_ids, positions, by, unmatched
        )  # fmt: skip
        join.check()
    except BaseException:
        staging.close()
        raise
    return Import(opened.name, opened.table, opened.foreign, rows, join)


def _labelled(opened: Import) -> Import:
    """Join the file that `requant export` has put beside an index, if there is one."""
    beside = Path(opened.name + ITEMS)
    if "://" in opened.name or not Path(opened.name).is_file() or not beside.is_file():
        return opened
    table = open_table(beside)
    if table.columns[:2] != ["label", "id"]:
        return opened
    source: Any = opened.foreign
    staging = staged_labels(Source(table, Chosen(None, None, None, (ALL,), rest=True)))
    try:
        join = Join(
            opened.name, source.batches, staging, True, False, "id", "keep", labels=True
        )  # fmt: skip
        join.check()
    except BaseException:
        staging.close()
        raise
    return Import(opened.name, None, opened.foreign, None, join)


def _columns(chosen: Chosen | None, items: Source | None) -> dict[str, Any]:
    vector = chosen.vector if chosen else None
    told = items.chosen if items else chosen
    assert told is not None
    return {
        "ids": told.ids or (chosen.ids if chosen else None),
        "vector": vector,
        "documents": told.documents,
        "metadata": [told.whole] if told.whole else list(told.metadata),
    }


def _check(items: Any, by: Any, unmatched: Any) -> None:
    if by not in _BY:
        raise InputError(f"items_by must be 'id' or 'row', not {by!r}")
    if unmatched not in _UNMATCHED:
        raise InputError(f"unmatched must be one of {', '.join(_UNMATCHED)}, not {unmatched!r}")
    if items is None and (by is not None or unmatched != "refuse"):
        raise InputError("items_by and unmatched tell how items are joined: name their file")
