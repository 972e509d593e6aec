"""Embeddings beside any store: compared whatever their precision, calibrated, made from texts.

Nothing here knows of a database, and tensors go in and out without torch being imported.
"""

from __future__ import annotations

from requant.embeddings.calibration import Calibration, column_ranges
from requant.embeddings.similarities import pairwise_similarity, similarity
from requant.embeddings.tensors import as_array, like, to_numpy
from requant.embeddings.texts import check_texts, embed

__all__ = [
    "Calibration",
    "as_array",
    "check_texts",
    "column_ranges",
    "embed",
    "like",
    "pairwise_similarity",
    "similarity",
    "to_numpy",
]
