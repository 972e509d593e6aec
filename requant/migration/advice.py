"""Which index type pays at which size, as measured by `python -m benchmarks.lists`."""

from __future__ import annotations

from typing import Any, NamedTuple

from requant.adapters.protocol import Capabilities, IndexType
from requant.store import IndexConfig


class Measured(NamedTuple):
    """What a query took, as a share of a flat int2 index's time at the same recall (0.98)."""

    items: int
    share: float


# One core, everything included. 265,000 are different texts of WordNet in 384 dimensions; the
# others are made-up vectors of 768 dimensions as hard as WordNet's.
LISTS = (Measured(100_000, 0.60), Measured(265_000, 0.67), Measured(1_000_000, 0.18))
GRAPHS = (Measured(100_000, 0.42), Measured(265_000, 0.37))
# What is saved below that is not worth longer builds, more memory and recall to be calibrated.
_PAYS = 0.67


def advice(config: IndexConfig, capabilities: Capabilities, items: int) -> list[str]:
    """Return what another index type would make of so many items, where that matters."""
    lists, graph = _at(LISTS, items), _at(GRAPHS, items)
    if lists is None and graph is None:
        if config.index_type == "flat":
            return []
        return [
            f"at this size a flat index is hardly slower than {_called(config.index_type)}, and "
            "misses less: index_type='flat'"
        ]
    told: list[str] = []
    precision: Any = config.precision
    if config.index_type == "flat":
        if graph and capabilities.find("int8", "hnsw"):
            told.append(_said(graph, "a graph", "int8", "hnsw"))
        if lists and capabilities.find(precision, "ivf"):
            told.append(_said(lists, "lists", config.precision, "ivf"))
    if config.index_type != "flat" or told:
        told.append(
            "lists and graphs find what they are given the time for: calibrate(target=0.98) once, "
            "and search(recall=0.98)"
        )
    return told


def _at(measured: tuple[Measured, ...], items: int) -> Measured | None:
    """Return what was measured at the greatest size up to `items`, if it pays there."""
    rows = [row for row in measured if row.items <= items]
    return rows[-1] if rows and rows[-1].share <= _PAYS else None


def _said(at: Measured, what: str, precision: str, index_type: IndexType) -> str:
    wish = f"index_type={index_type!r}"
    if precision == "int8":
        wish = f"precision='int8', {wish}"
    return (
        f"at this size {what} would take about 1/{1 / at.share:.1f} of a flat int2 index's time at "
        f"the same recall ({wish}; measured on {at.items:,} items)"
    )


def _called(index_type: str) -> str:
    return "a graph" if index_type == "hnsw" else "lists"
