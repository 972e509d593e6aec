"""Searches by the words of documents, alone or together with vectors.

`ranked` asks the text index, `fusion` makes one list of its answer and of the nearest items.
"""

from __future__ import annotations

from requant.search.text.fusion import Fused, Weights, check_weights
from requant.search.text.ranked import ByWords

__all__ = ["ByWords", "Fused", "Weights", "check_weights"]
