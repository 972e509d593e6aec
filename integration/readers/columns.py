"""Which column of a file is what: as the caller wants it, or by its usual name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from requant.integration.errors import SourceError
from requant.integration.readers.table import Table

ALL = "all"
_IDS = ("id", "ids")
_VECTORS = ("vector", "vectors", "embedding", "embeddings")
# Where the usual stores and frameworks keep the text of an item.
DOCUMENT_KEYS = ("document", "text", "page_content")


@dataclass(frozen=True)
class Wanted:
    """Column names as the caller gave them; None where the usual names decide.

    `metadata` names the columns that become keys of the metadata; `("all",)` stands for every
    column that is nothing else. `framework` takes out the metadata that a framework keeps in an
    object of its own in a payload, also where the text is named.
    """

    ids: str | None = None
    vector: str | None = None
    documents: str | None = None
    metadata: tuple[str, ...] = ()
    framework: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Chosen:
    """What each column is. `ids=None`: the row number is the id.

    `whole` is a column that holds the metadata itself, as objects; `rest` tells that metadata is
    every column that is nothing else, also one that turns up later (JSON lines).
    """

    vector: str | None
    ids: str | None
    documents: str | None
    metadata: tuple[str, ...]
    whole: str | None = None
    rest: bool = False

    def not_taken(self, columns: Sequence[str]) -> list[str]:
        """Return the columns that are nothing of all this."""
        if self.rest:
            return []
        taken = {self.vector, self.ids, self.documents, self.whole, *self.metadata}
        return [name for name in columns if name not in taken]


def choose(table: Table, wanted: Wanted) -> Chosen:
    """Choose the columns of a file that has everything.

    Raises:
        SourceError: a column is not there, or it is not clear which one holds the vectors; the
            text lists the columns.
    """
    _check_once(table)
    return _rest(table, _vector(table, wanted.vector), wanted)


def choose_vectors(table: Table, wanted: Wanted) -> Chosen:
    """Choose the vectors and ids of a file whose other columns stand in another; as `choose`."""
    _check_once(table)
    ids = wanted.ids if wanted.ids in table.columns else _usual(table, _IDS)
    return Chosen(_vector(table, wanted.vector), ids, None, ())


def choose_items(table: Table, wanted: Wanted) -> Chosen:
    """Choose the columns of a file that has everything but vectors; as `choose`."""
    _check_once(table)
    return _rest(table, None, wanted)


def _check_once(table: Table) -> None:
    twice = next((name for name in table.columns if table.columns.count(name) > 1), None)
    if twice is not None:
        raise SourceError(f"{table.path} has two columns called {twice!r}: rename one")


def _rest(table: Table, vector: str | None, wanted: Wanted) -> Chosen:
    ids = _named(table, wanted.ids, "--ids") or _usual(table, _IDS)
    documents = _named(table, wanted.documents, "--documents") or _usual(table, DOCUMENT_KEYS)
    taken = {vector, ids, documents}
    if wanted.metadata == (ALL,):
        rest = tuple(name for name in table.columns if name not in taken)
        return Chosen(vector, ids, documents, rest, rest=True)
    if wanted.metadata:
        for name in wanted.metadata:
            _named(table, name, "--metadata")
        return Chosen(vector, ids, documents, tuple(dict.fromkeys(wanted.metadata)))
    whole = None if "metadata" in taken else _usual(table, ("metadata",))
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
        f"{table.path}: which column holds the vectors? Choose one with --vector "
        "(in Python vector=): " + ", ".join(table.vector_like)
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
