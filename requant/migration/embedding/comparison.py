"""How two models answer the same queries: the overlap, and what is known to be relevant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from requant.embeddings import Model, embed
from requant.errors import InputError, RequantError
from requant.indexes import IndexSet, Workspace
from requant.inputs import check_ids
from requant.quantizers.arrays import Float32s
from requant.search import Searcher
from requant.store import CollectionRow, Id, Reader, key_range

# Stored documents that stand for queries where none are given.
_QUERIES = 100


@dataclass(frozen=True)
class Asked:
    """What both models are asked, and which items are the right answers, if that is known."""

    queries: Sequence[str] | None = None
    relevant: Sequence[Iterable[Id]] | None = None
    k: int = 10

    def __post_init__(self) -> None:
        """Refuse what does not fit together; raises InputError."""
        if self.relevant is None:
            return
        if self.queries is None or len(self.queries) != len(self.relevant):
            raise InputError("relevant must hold a list of ids for each of queries")


@dataclass
class Compared:
    """What came of it."""

    queries: int
    queries_from: str
    overlap: float | None = None
    before: float | None = None
    after: float | None = None
    notes: list[str] = field(default_factory=list)


def compare(
    workspace: Workspace,
    old: CollectionRow,
    new: CollectionRow,
    asked: Asked,
    models: tuple[Callable[[], Model], Callable[[], Model]],
    options: Any,
) -> Compared:
    """Ask both collections, exactly; `models` are the old one and the new one."""
    if asked.queries is None:
        return _by_documents(workspace, old, new, asked.k)
    texts = list(asked.queries)
    found = Compared(len(texts), "given")
    if not texts:
        return found
    vectors = embed(models[1](), texts, "query", new.dim, options=options)
    after = _answers(workspace, new, vectors, asked.k)
    before: list[list[Id]] | None = None
    try:
        before = _answers(workspace, old, embed(models[0](), texts, "query", old.dim), asked.k)
    except RequantError as error:
        found.notes.append(f"the old model could not be asked: {error}")
    if before is not None:
        found.overlap = _overlap(before, after, asked.k)
    if asked.relevant is not None:
        right = [set(check_ids(ids)[0]) for ids in asked.relevant]
        found.before = None if before is None else _relevance(before, right, asked.k)
        found.after = _relevance(after, right, asked.k)
    return found


def _by_documents(workspace: Workspace, old: CollectionRow, new: CollectionRow, k: int) -> Compared:
    """Compare what is near to stored documents by the vectors of each model."""
    ids, vectors = _documents(workspace, old, new)
    found = Compared(len(ids), "stored documents")
    if not ids:
        return found
    answers = [
        [
            [one for one in row if str(one) != text][:k]
            for row, text in zip(_answers(workspace, owner, part, k + 1), ids, strict=True)
        ]
        for owner, part in zip((old, new), vectors, strict=True)
    ]
    found.overlap = _overlap(answers[0], answers[1], k)
    return found


def _documents(
    workspace: Workspace, old: CollectionRow, new: CollectionRow
) -> tuple[list[str], tuple[Float32s, Float32s]]:
    """Return items that have a vector by both models, from all over the new collection."""
    with workspace.store.reading() as reader:
        first, _ = key_range(new.id)
        reach = reader.state_of(new).end - first
        keys = np.unique(np.linspace(first, first + max(reach - 1, 0), _QUERIES).astype(np.int64))
        keys, after = reader.vectors(keys, new.dim)
        theirs = {key: row[1] for key, row in reader.raw_items(keys.tolist()).items()}
        before = _by_id(reader, old, list(theirs.values()))
    at = [row for row, key in enumerate(keys.tolist()) if theirs.get(key) in before]
    ids = [theirs[int(keys[row])] for row in at]
    rows = np.array([before[text] for text in ids], np.float32).reshape(len(ids), old.dim)
    return ids, (rows, after[at])


def _by_id(reader: Reader, owner: CollectionRow, ids: list[str]) -> dict[str, Float32s]:
    by_id = reader.keys_of(owner.id, ids)
    keys, vectors = reader.vectors(np.array(sorted(by_id.values()), np.int64), owner.dim)
    rows = dict(zip(keys.tolist(), vectors, strict=True))
    return {text: rows[key] for text, key in by_id.items() if key in rows}


def _answers(
    workspace: Workspace, owner: CollectionRow, vectors: Float32s, k: int
) -> list[list[Id]]:
    searcher = Searcher(workspace.store, owner, IndexSet(workspace, owner), workspace.room)
    question = searcher.question(vectors, k, {"exact": True})
    return searcher.batch(question, documents=False).ids


def _overlap(before: list[list[Id]], after: list[list[Id]], k: int) -> float:
    shares = [
        len(set(map(str, old)) & set(map(str, new))) / max(1, min(k, len(old)))
        for old, new in zip(before, after, strict=True)
    ]
    return float(np.mean(shares))


def _relevance(answers: list[list[Id]], right: list[set[str]], k: int) -> float | None:
    shares = [
        len({str(one) for one in found} & wanted) / min(k, len(wanted))
        for found, wanted in zip(answers, right, strict=True)
        if wanted
    ]
    return float(np.mean(shares)) if shares else None
