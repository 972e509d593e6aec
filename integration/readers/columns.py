"""Which column of a file is what: as the caller wants it, or by its usual name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from requant.integration.errors import SourceError
from requant.integration.readers.table import Table

ALL = "all"
_IDS = ("id", "ids")
_VECTORS = ("vector", "vectors", "embedding", "embeddings")


@dataclass(frozen=True)
class Wanted:
    """Column names as the caller gave them; None where the usual names decide.

    `metadata` names the columns that become keys of the metadata; `("all",)` stands for every
    column that is nothing else.
    """

    ids: str | None = None
    vector: str | None = None
    documents: str | None = None
    metadata: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """What each column is. `ids=None`: the row number is the id.

    `whole` is a column that holds the metadata itself, as objects; `rest` tells that metadata is
    every column that is nothing else, also one that turns up later (JSON lines).
    """

    vector: str
    ids: str | None
    documents: str | None
    metadata: tuple[str, ...]
    whole: str | None = None
    rest: bool = False


def choose(vectors: Table, items: Table, wanted: Wanted) -> Chosen:
    """Choose columns: the vector's from one table, the others from another or the same.

    Raises:
        SourceError: a column is not there, or it is not clear which one holds the vectors; the
            text lists the columns.
    """
    for table in (vectors, items):
        twice = next((name for name in table.columns if table.columns.count(name) > 1), None)
        if twice is not None:
            raise SourceError(f"{table.path} has two columns called {twice!r}: rename one")
    vector = _vector(vectors, wanted.vector)
    ids = _named(items, wanted.ids, "--ids") or _usual(items, _IDS)
    documents = _named(items, wanted.documents, "--documents") or _usual(items, ("document",))
    taken = {vector, ids, documents} if items is vectors else {ids, documents}
    if wanted.metadata == (ALL,):
        rest = tuple(name for name in items.columns if name not in taken)
        return Chosen(vector, ids, documents, rest, rest=True)
    if wanted.metadata:
        for name in wanted.metadata:
            _named(items, name, "--metadata")
        return Chosen(vector, ids, documents, tuple(dict.fromkeys(wanted.metadata)))
    whole = None if "metadata" in taken else _usual(items, ("metadata",))
    return Chosen(vector, ids, documents, (), whole)


def _vector(table: Table, name: str | None) -> str:
    if name is not None:
        _named(table, name, "--vector")
        return name
    for usual in _VECTORS:
        if usual in table.vector_like:
            return usual
    if len(table.vector_like) == 1:
        return table.vector_like[0]
    if not table.vector_like:
        raise SourceError(f"{table.path} has no column of vectors; {_listed(table.columns)}")
    raise SourceError(
        f"{table.path}: which column holds the vectors? Choose one with --vector: "
        + ", ".join(table.vector_like)
    )


def _named(table: Table, name: str | None, option: str) -> str | None:
    if name is not None and name not in table.columns:
        raise SourceError(
            f"{table.path} has no column {name!r} ({option}); {_listed(table.columns)}"
        )
    return name


def _usual(table: Table, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in table.columns), None)


def _listed(columns: Sequence[str]) -> str:
    return f"its columns are: {', '.join(columns) or 'none'}"
