"""Times that can be compared on a noisy machine: contenders take turns, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

# One query of a contender, by its number.
Query = Callable[[int], object]


def in_turn(
    contenders: Mapping[str, Query],
    queries: int,
    rounds: int = 9,
    block: int = 50,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Return CPU milliseconds a query of each contender, one mean a round.

    In every round each contender answers the same block of queries, after one query that is not
    counted, so that a ratio of two contenders is taken between neighbours in time.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        numbers = [(turn * block + i) % queries for i in range(block)]
        for name, ask in contenders.items():
            ask(numbers[-1])
            start = clock()
            for number in numbers:
                ask(number)
            times[name].append((clock() - start) / block * 1e3)
    return times


def ratio(times: Mapping[str, list[float]], name: str, baseline: str) -> float:
    """Return the median over the rounds of `name`'s time as a share of `baseline`'s."""
    pairs = zip(times[name], times[baseline], strict=True)
    return float(np.median([ours / theirs for ours, theirs in pairs]))


def cpu_seconds(work: Callable[[], object], repeat: int = 5) -> float:
    """Return the median CPU seconds of `work`."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return float(np.median(times))
