"""Searches: what is asked of LanceDB, and its rows as candidates."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.adapters.lancedb.columns import CODE, KEY, codes_in, keys_in, query_arrays
from requant.adapters.lancedb.plan import EVERY
from requant.adapters.lancedb.table import Table
from requant.adapters.protocol import Candidates, Keys
from requant.quantizers.arrays import Codes, Float32s

_DISTANCE, _QUERY = "_distance", "query_index"
# LanceDB reads a table once for all queries of a call.
_AT_ONCE = 64
# Bits come back under the wrong query when a call holds several: so many calls at a time.
_SIDE_BY_SIDE = 4
# Keys in one condition: of more, several are asked for one after the other.
_LONGEST_LIST = 20_000
# Candidates that are asked for, to be filtered afterwards: more take longer than lists of keys.
_MOST_MORE = 2_000


@dataclass(frozen=True)
class Wish:
    """What every query of a search has in common; `among` are sorted keys."""

    k: int
    among: Keys | None
    effort: int | None
    codes: bool


def search(table: Table, queries: Codes, wish: Wish) -> Candidates:
    """Return the `wish.k` nearest of each query."""
    if not len(queries) or (wish.among is not None and not len(wish.among)):
        return Candidates.empty(table.plan.spec, len(queries), wish.k, wish.codes)
    arrays = query_arrays(queries, table.plan.spec)
    if wish.among is None or len(wish.among) <= _LONGEST_LIST or _is_range(wish.among):
        return _whole(table, arrays, wish)
    return _among_many(table, arrays, wish, wish.among)


def where_keys(keys: Keys) -> str:
    """Return the SQL condition that the key is one of `keys`, at least one: integers, no text."""
    if _is_range(keys):
        return f"{KEY} >= {int(keys[0])} AND {KEY} <= {int(keys[-1])}"
    return f"{KEY} IN ({','.join(map(str, keys.tolist()))})"


def _is_range(keys: Keys) -> bool:
    """Whether sorted keys are all that there are between the first and the last of them."""
    return bool(keys[-1] - keys[0] == len(keys) - 1)


def _whole(table: Table, arrays: list[Any], wish: Wish) -> Candidates:
    """Return the answer of the index, and what it missed."""
    answer = _ask(table, arrays, wish)
    if table.plan.approximate:
        _complete(table, arrays, wish, answer)
    return answer


def _ask(table: Table, arrays: list[Any], wish: Wish, exact: bool = False) -> Candidates:
    """Send the queries in few calls; `exact` leaves the index aside."""
    answer = Candidates.empty(table.plan.spec, len(arrays), wish.k, wish.codes)
    where = None if wish.among is None else where_keys(wish.among)
    bits = table.plan.spec.metric == "hamming"
    several, calls = (1, _SIDE_BY_SIDE) if bits else (_AT_ONCE, 1)
    for start in range(0, len(arrays), several * calls):
        firsts = range(start, min(start + several * calls, len(arrays)), several)
        asked = [_query(table, arrays[i : i + several], wish, where, exact) for i in firsts]
        for first, rows in zip(firsts, table.call(_all(asked)), strict=True):
            _enter(table, rows, first, answer)
    return answer


async def _all(asked: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    if len(asked) == 1:
        return [await asked[0]]
    return list(await asyncio.gather(*asked))


def _query(
    table: Table, vectors: list[Any], wish: Wish, where: str | None, exact: bool
) -> Coroutine[Any, Any, Any]:
    """Return one call of LanceDB, to be awaited."""
    plan = table.plan
    query = table.inner.query().nearest_to(vectors if len(vectors) > 1 else vectors[0])
    query = query.column(CODE).distance_type(plan.metric).limit(wish.k)
    query = query.select([KEY, CODE, _DISTANCE] if wish.codes else [KEY, _DISTANCE])
    if where is not None:
        query = query.where(where)
    if exact or plan.index is None:
        query = query.bypass_vector_index()
    elif plan.spec.index_type == "ivf":
        # So many and no more: with a larger maximum, LanceDB reads all of them. Where they hold too
        # few, `_complete` asks once more.
        query = query.nprobes(wish.effort or plan.nprobes)
    else:
        # LanceDB splits a partition that has grown.
        query = query.nprobes(EVERY)
        if plan.spec.index_type == "hnsw":
            query = query.ef(max(wish.effort or plan.ef, wish.k))
    found: Coroutine[Any, Any, Any] = query.to_arrow()
    return found


def _enter(table: Table, rows: Any, first: int, answer: Candidates) -> None:
    """Write the rows of a call, whose queries begin with number `first`, into the answer."""
    n, k = rows.num_rows, answer.keys.shape[1]
    keys, distances = keys_in(rows), _distances(table, rows)
    if _QUERY in rows.column_names:
        of = rows.column(_QUERY).to_numpy().astype(np.int64)
    else:
        of = np.zeros(n, np.int64)
    order = np.lexsort((keys, distances, of))
    of = of[order]
    place = np.arange(n) - np.searchsorted(of, of)
    order, of, place = order[place < k], first + of[place < k], place[place < k]
    answer.keys[of, place] = keys[order]
    answer.distances[of, place] = distances[order]
    if answer.codes is not None:
        answer.codes[of, place] = codes_in(rows, table.plan.spec)[order]


def _distances(table: Table, rows: Any) -> Float32s:
    """Return LanceDB's distances as ours: its `dot` is 1 - the inner product."""
    raw: Float32s = np.array(rows.column(_DISTANCE).to_numpy(), np.float32)
    return raw - np.float32(1) if table.plan.spec.metric == "ip" else raw


def _complete(table: Table, arrays: list[Any], wish: Wish, answer: Candidates) -> None:
    """Repeat exactly what came back with fewer answers than there are."""
    found = (answer.keys >= 0).sum(axis=1)
    if found.min() == wish.k:
        return
    where = None if wish.among is None else where_keys(wish.among)
    there = min(wish.k, table.call(table.inner.count_rows(where)))
    short = np.flatnonzero(found < there)
    if len(short):
        again = _ask(table, [arrays[i] for i in short], wish, exact=True)
        _enter_rows(again, short, answer)


def _among_many(table: Table, arrays: list[Any], wish: Wish, among: Keys) -> Candidates:
    """Ask for more than k and filter; where too few are left, ask for one list after the other."""
    answer = Candidates.empty(table.plan.spec, len(arrays), wish.k, wish.codes)
    rows: int = table.call(table.inner.count_rows())
    more = min(rows, 64 + 2 * wish.k * rows // len(among))
    for start in range(0, len(arrays), _AT_ONCE):
        left = np.arange(start, min(start + _AT_ONCE, len(arrays)))
        if 0 < more <= _MOST_MORE:
            found = _ask(table, arrays[start : start + _AT_ONCE], replace(wish, k=more, among=None))
            left = left[~_keep(found, among, wish.k, left, answer)]
        if len(left):
            _enter_rows(_in_lists(table, [arrays[i] for i in left], wish, among), left, answer)
    return answer


def _in_lists(table: Table, arrays: list[Any], wish: Wish, among: Keys) -> Candidates:
    """Return the best of the answers among parts of the keys."""
    best: Candidates | None = None
    for start in range(0, len(among), _LONGEST_LIST):
        part = replace(wish, among=among[start : start + _LONGEST_LIST])
        found = _whole(table, arrays, part)
        best = found if best is None else _better(best, found)
    assert best is not None
    return best


def _better(one: Candidates, other: Candidates) -> Candidates:
    """Return the nearest of two answers to the same queries, which share no key."""
    k = one.keys.shape[1]
    keys = np.concatenate([one.keys, other.keys], axis=1)
    distances = np.concatenate([one.distances, other.distances], axis=1)
    order = np.lexsort((keys, distances))[:, :k]
    codes = None
    if one.codes is not None and other.codes is not None:
        both = np.concatenate([one.codes, other.codes], axis=1)
        codes = np.take_along_axis(both, order[:, :, None], axis=1)
    return Candidates(
        np.take_along_axis(keys, order, axis=1), np.take_along_axis(distances, order, axis=1), codes
    )


def _enter_rows(found: Candidates, which: NDArray[np.int64], answer: Candidates) -> None:
    """Write an answer into rows `which` of another."""
    answer.keys[which], answer.distances[which] = found.keys, found.distances
    if answer.codes is not None and found.codes is not None:
        answer.codes[which] = found.codes


def _keep(
    found: Candidates, among: Keys, k: int, which: NDArray[np.int64], answer: Candidates
) -> NDArray[np.bool_]:
    """Write the first k that are in the key set into rows `which`; tell which rows are full."""
    at = np.minimum(np.searchsorted(among, found.keys), len(among) - 1)
    inside = among[at] == found.keys
    rank = inside.cumsum(axis=1)
    row, column = np.nonzero(inside & (rank <= k))
    place = rank[row, column] - 1
    answer.keys[which[row], place] = found.keys[row, column]
    answer.distances[which[row], place] = found.distances[row, column]
    if answer.codes is not None and found.codes is not None:
        answer.codes[which[row], place] = found.codes[row, column]
    full: NDArray[np.bool_] = rank[:, -1] >= k
    return full
