"""Efforts and candidates tried on queries, beside exact search, and the fastest that suffices.

Of each effort (lists read, candidates that a graph looks at) the fewest candidates are looked for
that reach the target; more effort needs fewer candidates, and which of them is the fastest depends
on the engine, the data and the machine: they are timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from requant.calibration.bounds import lower_bound
from requant.errors import InputError, UnsupportedError
from requant.indexes import IndexSet, Loaded, Workspace, sample
from requant.quantizers.arrays import Float32s
from requant.search import Found, Request, Search, hits_of
from requant.store import (
    CollectionRow,
    CollectionState,
    IndexRow,
    Reader,
    Setting,
    calibrations,
    ledger,
)

# Stored vectors that stand for queries where none are given; and queries that are timed.
QUERIES = 300
TIMED = 40
MOST_RESULTS = 1_000
_OVERSAMPLES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0)
# What an index that takes an effort is asked for at most, while the effort is looked for.
_ENOUGH = 16.0
_EFFORTS = tuple(round(4 * 2 ** (step / 3)) for step in range(40))  # 4 to 33,000
# So many efforts from the least that suffices are timed.
_TRIED = 5


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` found: searches with `recall=target` use `effort` and `oversample`.

    `recall` is what was measured at `k` over `queries` vectors `queries_from` "stored vectors" or
    "given", `lower` what that can be relied on for (95 %); `milliseconds` a query took here.
    """

    index: str
    target: float
    k: int
    effort: int | None
    oversample: float
    recall: float
    lower: float
    queries: int
    queries_from: str
    items: int
    milliseconds: float


def check_wish(target: float, k: int, queries: Float32s | None) -> tuple[float, int]:
    """Return a target and k that can be measured; raises InputError."""
    number = isinstance(target, int | float | np.floating) and not isinstance(target, bool)
    if not number or not 0 < target < 1:
        raise InputError(f"target must be a recall above 0 and below 1, not {target!r}")
    whole = isinstance(k, int | np.integer) and not isinstance(k, bool)
    if not whole or not 1 <= k <= MOST_RESULTS:
        raise InputError(f"k must be an integer from 1 to {MOST_RESULTS}, not {k!r}")
    if queries is not None and not len(queries):
        raise InputError("queries must hold at least one vector")
    return float(target), int(k)


def calibrate(
    workspace: Workspace,
    owner: CollectionRow,
    indexes: IndexSet,
    name: str | None,
    target: float,
    queries: Float32s | None,
    k: int,
) -> Calibrated:
    """Measure and keep what an index, by name or the one in use, needs for `target`."""
    store = workspace.store
    store.check_writable()
    store.number(owner.id, wait=True)
    row = _row(workspace, owner, name)
    with indexes.pinned({row.id}), store.reading() as reader:
        state = reader.state_of(owner)
        loaded = indexes.numbered(reader, state, row.id, wait=True)
        if loaded is None:
            raise InputError(_why_none(row.name, len(sample(reader, owner, state))))
        trials = _Trials(reader, owner, state, loaded, queries, k)
        best = _fastest(trials, target, row.name)
        setting = Setting(
            target, k, best.effort, best.oversample, best.recall, best.lower,
            len(trials.queries), trials.queries_from, loaded.size, loaded.made,
        )  # fmt: skip
    loaded.told = False
    calibrations.note(store, row, setting)
    told = {name: value for name, value in vars(setting).items() if name != "made"}
    return Calibrated(row.name, **told, milliseconds=best.seconds * 1e3)


def _why_none(name: str, vectors: int) -> str:
    if not vectors:
        return f"index {name!r} is empty: there is nothing to calibrate it on"
    return (
        f"index {name!r} is not built yet, since the collection holds {vectors} vector, which "
        "every search scores exactly: calibrate when it holds those it is to have"
    )


@dataclass(frozen=True)
class _Trial:
    effort: int | None
    oversample: float
    recall: float
    lower: float
    seconds: float = 0.0


class _Trials:
    """Searches of one snapshot, compared with exact ones."""

    def __init__(
        self,
        reader: Reader,
        owner: CollectionRow,
        state: CollectionState,
        loaded: Loaded,
        queries: Float32s | None,
        k: int,
    ) -> None:
        self._snapshot = reader, owner, state
        self.loaded = loaded
        self.k = k
        self.queries_from = "stored vectors" if queries is None else "given"
        # A stored vector finds itself, which nobody asks for: it does not count.
        self._itself = 1 if queries is None else 0
        if queries is None:
            rows = sample(reader, owner, state)
            queries = rows[:: max(1, len(rows) // QUERIES)][:QUERIES].copy()
        self.queries = queries
        self._wanted = self._run(None, Request(queries, k + self._itself))

    def of(self, effort: int | None, oversample: float) -> _Trial:
        """Return what comes of an effort and so many candidates for each result."""
        found = self._run(self.loaded, self._request(self.queries, effort, oversample))
        pairs = zip(found, self._wanted, strict=True)
        hits = [max(hits_of([some], [wanted]) - self._itself, 0) for some, wanted in pairs]
        wanted = [max(len(keys) - self._itself, 0) for keys, _ in self._wanted]
        return _Trial(
            effort, oversample, sum(hits) / max(sum(wanted), 1), lower_bound(hits, wanted)
        )

    def seconds(self, trial: _Trial) -> float:
        """Return what one query takes, asked alone."""
        taken = []
        for at in range(min(TIMED, len(self.queries))):
            request = self._request(self.queries[at : at + 1], trial.effort, trial.oversample)
            begun = time.perf_counter()
            self._run(self.loaded, request)
            taken.append(time.perf_counter() - begun)
        return float(np.median(taken))

    def _request(self, queries: Float32s, effort: int | None, oversample: float) -> Request:
        # Of as many candidates as a search for k asks for, whatever is left out afterwards.
        k = self.k + self._itself
        return Request(queries, k, max(oversample * self.k / k, 1.0), effort)

    def _run(self, loaded: Loaded | None, request: Request) -> list[Found]:
        return Search(*self._snapshot, loaded, request).run()


def _fastest(trials: _Trials, target: float, name: str) -> _Trial:
    """Return the fastest trial that reaches the target; raises UnsupportedError if none does."""

    def reaches(trial: _Trial) -> bool:
        return trial.lower >= target

    if trials.loaded.backend.spec.index_type == "flat" or trials.loaded.attached:
        found = _first(_OVERSAMPLES, lambda factor: trials.of(None, factor), reaches)
        candidates = [] if found is None else [found]
    else:
        efforts = [effort for effort in _EFFORTS if effort < 2 * trials.loaded.size] or [1]
        least = _first(efforts, lambda effort: trials.of(effort, _ENOUGH), reaches)
        candidates = [] if least is None else _by_effort(trials, efforts, least, reaches)
    if not candidates:
        raise UnsupportedError(
            f"index {name!r} does not reach recall {target:g} on these queries, however hard it "
            "tries, or they are too few to tell: use a finer precision, give more queries, or "
            "accept less"
        )
    timed = [_Trial(**{**vars(one), "seconds": trials.seconds(one)}) for one in candidates]
    return min(timed, key=lambda one: one.seconds)


def _by_effort(
    trials: _Trials, efforts: Sequence[int], least: _Trial, reaches: Callable[[_Trial], bool]
) -> list[_Trial]:
    """Return for each of a few efforts the fewest candidates that are enough."""
    factors = [factor for factor in _OVERSAMPLES if factor <= _ENOUGH]
    found = []
    for effort in [one for one in efforts if one >= (least.effort or 0)][:_TRIED]:
        one = _first(factors, lambda factor, e=effort: trials.of(e, factor), reaches)
        if one is None:
            continue  # by chance: a lesser effort was enough
        found.append(one)
        factors = [factor for factor in factors if factor <= one.oversample]
    return found or [least]


def _first(
    choices: Sequence[float], trial: Callable[..., _Trial], reaches: Callable[[_Trial], bool]
) -> _Trial | None:
    """Return the trial of the first choice that reaches the target; more of it never does worse."""
    low, high, best = 0, len(choices), None
    # Up first, twice as far each time: what is asked for last costs most.
    step = 1
    while low < high:
        at = min(low + step, high) - 1
        one = trial(choices[at])
        if reaches(one):
            best, high = one, at
            break
        low, step = at + 1, 2 * step
    while low < high:
        at = (low + high) // 2
        one = trial(choices[at])
        if reaches(one):
            best, high = one, at
        else:
            low = at + 1
    return best


def _row(workspace: Workspace, owner: CollectionRow, name: str | None) -> IndexRow:
    if name is not None:
        return ledger.find(workspace.store, owner.id, name)
    with workspace.store.reading() as reader:
        active = reader.state_of(owner).active
    row = None if active is None else ledger.numbered(workspace.store, owner.id, active)
    if row is None:
        raise InputError(
            f"collection {owner.name!r} has no index: searches are exact, and find everything"
        )
    return row
