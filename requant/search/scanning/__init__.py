"""Vectors scored exactly: those of batches, of candidates, or all that are read by some threads."""

from __future__ import annotations

from requant.search.scanning.candidates import refined, rescored
from requant.search.scanning.everything import nearest_of_all
from requant.search.scanning.keys import are_among, united
from requant.search.scanning.scan import BLOCK_BYTES, counted, merged, nearest, nothing

__all__ = [
    "BLOCK_BYTES",
    "are_among",
    "counted",
    "merged",
    "nearest",
    "nearest_of_all",
    "nothing",
    "refined",
    "rescored",
    "united",
]
