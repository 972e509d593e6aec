"""What a collection looks like, and whether its indexes are what they should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.loaded import Loaded
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.protocol import Quantizer
from requant.rescore import normalise
from requant.store import catalog, ledger
from requant.store.catalog import Origin
from requant.store.engine import Store
from requant.store.ledger import IndexRow
from requant.store.reader import CollectionState, Reader
from requant.store.schema import CollectionRow, key_range

# A report names this many culprits and counts the rest.
_NAMED = 5
# One value of a few hundred in a neighbouring cell loses percents more than the right code does;
# at the border between two cells it loses the same.
_SLACK = 1e-4


@dataclass(frozen=True)
class IndexInfo:
    """One index: what it is, and its newest generation on disk (None before the first)."""

    name: str
    engine: str
    precision: str
    index_type: str
    options: Mapping[str, Any]
    params: Mapping[str, Any]
    active: bool
    items: int | None
    bytes: int | None
    current: bool


@dataclass(frozen=True)
class Stats:
    """Counts and sizes of a collection; `vector_bytes`: float32, a vector each.

    `origins` tells of imports from other indexes, and whether their vectors were exact.
    """

    name: str
    dim: int
    metric: str
    items: int
    vector_bytes: int
    indexes: list[IndexInfo]
    origins: list[Origin] = field(default_factory=list)


@dataclass
class Report:
    """What `verify` looked at, in words, and what it found wrong."""

    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def collect_stats(store: Store, owner: CollectionRow) -> Stats:
    """Count and measure a collection."""
    with store.reading() as reader:
        state = reader.state_of(owner)
        items = reader.count(owner.id)
    indexes = [_info(store, row, state) for row in ledger.every(store, owner.id)]
    origins = catalog.origins(store, owner)
    size = items * owner.dim * 4
    return Stats(owner.name, owner.dim, owner.metric, items, size, indexes, origins)


def verify_collection(
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    indexes: Mapping[str, Loaded | None],
    *,
    deep: bool,
) -> Report:
    """Compare indexes (caught up with `state`) with the vectors that `reader` sees."""
    report = Report()
    if deep:
        _check_store(reader, owner, state, report)
        if not report.ok:
            return report  # codes of damaged vectors would say nothing about the index
    for name, loaded in indexes.items():
        if loaded is None:
            report.checked.append(f"index {name!r}: nothing to hold yet")
        elif loaded.attached:
            text = f"index {name!r}: attached, with {loaded.size} vectors; not ours to look into"
            report.checked.append(text)
        else:
            _check_index(reader, owner, state, name, loaded, report)
    return report


def _info(store: Store, row: IndexRow, state: CollectionState) -> IndexInfo:
    published = ledger.generations(store, row.id)
    newest = published[0][0] if published else None
    config = row.config
    return IndexInfo(
        name=row.name,
        engine=config.engine,
        precision=config.precision,
        index_type=config.index_type,
        options=config.options,
        params=config.params,
        active=state.active == row.id,
        items=newest.items if newest else None,
        bytes=(newest.digest.bytes or None) if newest else None,
        current=newest is not None and newest.watermark.covers(state),
    )


def _check_store(
    reader: Reader, owner: CollectionRow, state: CollectionState, report: Report
) -> None:
    first, _ = key_range(owner.id)
    damaged = list(reader.damaged(first, state.next_key, owner.dim))
    _say(report, "stored vector(s) differ from their checksum, key(s)", damaged)
    strays = reader.strays(first, state.next_key)
    _say(report, "stored vector(s) have no item, key(s)", strays)
    report.problems += [f"the database file: {line}" for line in reader.integrity()]
    report.checked.append("the checksum of every stored vector, and the database file")


def _check_index(
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    name: str,
    loaded: Loaded,
    report: Report,
) -> None:
    keys, codes = _everything(loaded)
    held = np.zeros(len(keys), bool)
    missing: list[int] = []
    wrong: list[int] = []
    first, _ = key_range(owner.id)
    for stored, vectors in reader.scan(first, state.next_key, owner.dim):
        prepared = normalise(vectors) if owner.metric == "cosine" else vectors
        expected = loaded.quantizer.encode(prepared)
        at = np.searchsorted(keys, stored)
        there = at < len(keys)
        there[there] = keys[at[there]] == stored[there]
        held[at[there]] = True
        missing += stored[~there].tolist()
        found = codes[at[there]]
        judge = _are_near if loaded.support.lossy else codes_stand_for
        good = judge(loaded.quantizer, prepared[there], found, expected[there])
        wrong += stored[there][~good].tolist()
    _say(report, f"vector(s) are missing from index {name!r}, key(s)", missing)
    _say(report, f"code(s) of index {name!r} are not those of the vectors, key(s)", wrong)
    _say(report, f"item(s) of index {name!r} are not in the store, key(s)", keys[~held].tolist())
    report.checked.append(f"index {name!r}: {len(keys)} keys and codes")


def codes_stand_for(
    quantizer: Quantizer, vectors: Float32s, codes: Codes, expected: Codes
) -> NDArray[np.bool_]:
    """Tell which `codes (n, w)` are what `quantizer` makes of `vectors (n, d)`: `(n,) bool`.

    That is, equal to the `expected` ones, or as near to the vector: on another processor the last
    bit of a rotated value may differ, and with it the side of a threshold that it falls on.
    """
    good: NDArray[np.bool_] = (codes == expected).all(axis=1)
    if not good.all():
        at = np.flatnonzero(~good)
        lost = [
            np.square(vectors[at] - quantizer.decode(some[at]), dtype=np.float64).sum(axis=1)
            for some in (codes, expected)
        ]
        good[at] = lost[0] <= lost[1] * (1 + _SLACK)
    return good


def _are_near(
    quantizer: Quantizer, vectors: Float32s, codes: Codes, expected: Codes
) -> NDArray[np.bool_]:
    """Tell which `codes (n, d)`, an engine's own approximations, point where `vectors` do.

    Within 60 degrees: a bit a value keeps 37 of them, and hardly another vector is as near.
    """
    products = np.einsum("ij,ij->i", codes, vectors, dtype=np.float64)
    lengths = np.linalg.norm(codes, axis=1) * np.linalg.norm(vectors, axis=1)
    near: NDArray[np.bool_] = products >= lengths / 2
    return near


def _everything(loaded: Loaded) -> tuple[Keys, Codes]:
    spec = loaded.quantizer.spec
    parts = list(loaded.backend.export())
    if not parts:
        return np.empty(0, np.int64), np.empty((0, spec.width), spec.dtype)
    keys = np.concatenate([keys for keys, _ in parts])
    codes = np.concatenate([codes for _, codes in parts])
    order = np.argsort(keys)
    return keys[order], codes[order]


def _say(report: Report, what: str, culprits: Iterable[int]) -> None:
    named = list(culprits)
    if named:
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        some = ", ".join(str(key) for key in named[:_NAMED])
        report.problems.append(f"{len(named)} {what} {some}{more}")
