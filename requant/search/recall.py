"""How much of what is near an index finds, counted by score, and how hard it tries for that.

Exact duplicates tie.
"""

from __future__ import annotations

from collections.abc import Sequence

from requant.errors import InputError
from requant.indexes import Loaded
from requant.metrics import warn
from requant.search.request import Found, Request
from requant.store import CollectionRow, Reader, Setting, calibrations

# What rounding may do to the score of an item that is as near as the k-th nearest.
_TIE = 1e-6
# An index of so many times as many items, or as few, may need something else for the same recall.
_OTHER_SIZE = 2
# Of so many times as many results the last are in lists that those of the calibration are not in.
_OTHER_K = 4


def hits_of(found: Sequence[Found], wanted: Sequence[Found]) -> int:
    """Return how many results of `wanted` are in `found`, or others that are at least as near.

    >>> import numpy as np
    >>> a = (np.array([1, 2]), np.array([0.9, 0.5], np.float32))
    >>> b = (np.array([1, 3]), np.array([0.9, 0.5], np.float32))
    >>> hits_of([a], [b])
    2
    """
    hits = 0
    for (_, scores), (_, best) in zip(found, wanted, strict=False):
        if len(best):
            least = best[-1] - _TIE * max(1.0, abs(float(best[-1])))
            hits += min(int((scores >= least).sum()), len(best))
    return hits


def recall_of(found: Sequence[Found], wanted: Sequence[Found]) -> float:
    """Return the share of the `wanted` results that were found; 1 where nothing was wanted."""
    count = sum(len(keys) for keys, _ in wanted)
    return hits_of(found, wanted) / count if count else 1.0


def as_calibrated(
    request: Request, reader: Reader, owner: CollectionRow, loaded: Loaded
) -> Request:
    """Return the request with the effort and the candidates that its recall takes.

    Raises InputError where the index was not calibrated for that much.
    """
    assert request.recall is not None
    info = reader.index_info(owner, loaded.index)
    known = calibrations.settings(info, loaded.index)
    chosen = _least(known, request.recall, request.k)
    if chosen is None:
        have = ", ".join(f"{one.target:g}" for one in sorted(known, key=lambda one: one.target))
        raise InputError(
            f"index {loaded.index!r} was not calibrated for recall={request.recall:g} (it was for: "
            f"{have or 'nothing yet'}): call calibrate(target={request.recall:g}) once, or leave "
            "recall= out"
        )
    if not loaded.told and (why := _outdated(chosen, loaded, request.k)):
        loaded.told = True
        warn("search", f"index {loaded.index!r} of {owner.name!r} {why}: calibrate it again")
    # Of fewer results each takes more candidates: so many as were enough for the others as well.
    oversample = chosen.oversample * max(1.0, chosen.k / request.k)
    return request._replace(effort=chosen.effort, oversample=oversample)


def _least(known: list[Setting], recall: float, k: int) -> Setting | None:
    """Return the setting of the smallest sufficient target, of the k that is nearest to this."""
    enough = [one for one in known if one.target >= recall]
    return min(enough, key=lambda one: (one.target, abs(one.k - k)), default=None)


def _outdated(setting: Setting, loaded: Loaded, k: int) -> str | None:
    size, then = loaded.size, setting.items
    if size > _OTHER_SIZE * then or then > _OTHER_SIZE * size:
        return f"held {then:,} items when it was calibrated, and holds {size:,}"
    if setting.made != loaded.made:
        return "was built anew since it was calibrated"
    if setting.effort is not None and k > _OTHER_K * setting.k:
        return f"was calibrated for the {setting.k:,} nearest, and is asked for {k:,} (k={k})"
    return None
