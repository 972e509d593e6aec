"""The model of a collection: who embeds its texts, and moving to another one.

An `Embedder` embeds for a collection and keeps models from being mixed; a `Reembedder` moves it.
"""

from __future__ import annotations

from requant.migration.embedding.comparison import Asked
from requant.migration.embedding.embedder import Embedder, described, remember
from requant.migration.embedding.estimate import ReembedPlan
from requant.migration.embedding.reembedder import Reembedder, Wanted
from requant.migration.embedding.report import Missing, ReembedInfo, ReembedReport

__all__ = [
    "Asked",
    "Embedder",
    "Missing",
    "ReembedInfo",
    "ReembedPlan",
    "ReembedReport",
    "Reembedder",
    "Wanted",
    "described",
    "remember",
]
