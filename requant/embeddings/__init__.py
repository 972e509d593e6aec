"""Embeddings beside any store: compared whatever their precision, calibrated, made from texts.

Nothing here knows of a database, and tensors go in and out without torch being imported.
"""

from __future__ import annotations

from requant.embeddings.calibration import Calibration, column_ranges
from requant.embeddings.models import (
    Model,
    ModelInfo,
    check_alike,
    check_same,
    checked_model,
    encode_prompt,
    named,
)
from requant.embeddings.registry import load_model, load_stored, register_model, resolve
from requant.embeddings.similarities import pairwise_similarity, similarity
from requant.embeddings.tensors import as_array, like, to_numpy
from requant.embeddings.texts import check_model, check_texts, embed

__all__ = [
    "Calibration",
    "Model",
    "ModelInfo",
    "as_array",
    "check_alike",
    "check_model",
    "check_same",
    "check_texts",
    "checked_model",
    "column_ranges",
    "embed",
    "encode_prompt",
    "like",
    "load_model",
    "load_stored",
    "named",
    "pairwise_similarity",
    "register_model",
    "resolve",
    "similarity",
    "to_numpy",
]
